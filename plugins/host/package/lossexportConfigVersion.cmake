# Before 1.0 a minor release may break what an earlier one promised, from then on a major one.
set(PACKAGE_VERSION "@VERSION@")
set(_same "^[1-9][0-9]*|^0(\\.[0-9]+)?")
string(REGEX MATCH "${_same}" _here "${PACKAGE_VERSION}")
string(REGEX MATCH "${_same}" _wanted "${PACKAGE_FIND_VERSION}")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_LESS_EQUAL PACKAGE_VERSION AND
    (_wanted STREQUAL _here OR _wanted STREQUAL "0" AND _here MATCHES "^0"))
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
