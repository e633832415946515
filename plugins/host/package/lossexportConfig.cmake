# find_package(lossexport): the imported target lossexport::lossexport.
if(TARGET lossexport::lossexport)
  return()
endif()
get_filename_component(_lossexport "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
add_library(lossexport::lossexport SHARED IMPORTED)
set_target_properties(lossexport::lossexport PROPERTIES
  IMPORTED_LOCATION "${_lossexport}/@LIBRARY@"
  IMPORTED_SONAME "@LIBRARY@"
  INTERFACE_INCLUDE_DIRECTORIES "${_lossexport}/include")
unset(_lossexport)
