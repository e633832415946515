// What the reader of rows takes eight bytes at a time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lossexport {

// The bytes of a word, each of them this one.
constexpr uint64_t bytes(uint64_t byte) { return 0x0101010101010101u * byte; }

// The number that a word of eight digits is, each from 0 to 9, the first in the lowest byte.
constexpr uint64_t eight_digits(uint64_t word) {
  word = (word * 10 + (word >> 8)) & 0x00FF00FF00FF00FFu;
  word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFFu;
  return (word * 10000 + (word >> 32)) & 0xFFFFFFFFu;
}

// A number as it is written.
struct Number {
  uint64_t digits = 0;  // without the point; of no use if there are too many
  int64_t count = 0;    // of digits, leading zeros included
  int64_t exponent = 0;
  bool negative = false, whole = true;
};

// A number of at most seven digits and point, of which the end is in the same eight bytes; if it
// is another one, nothing is taken.
inline bool take_short_number(const char **at, const char *end, Number *out) {
  const bool negative = **at == '-';
  const char *const begin = *at + negative;
  uint64_t word;
  if (std::endian::native != std::endian::little || end - begin < int64_t{sizeof word})
    return false;
  std::memcpy(&word, begin, sizeof word);
  word ^= bytes('0');
  // The highest bit of each byte that is no digit.
  uint64_t others = (((word & bytes(0x7F)) + bytes(0x76)) | word) & bytes(0x80);
  if (!others) return false;
  const int whole = std::countr_zero(others) / 8;
  if (!whole || (whole > 1 && !(word & 0xFF))) return false;
  int size = whole, count = whole;
  if (begin[whole] == '.') {
    others &= others - 1;
    if (!others) return false;
    size = std::countr_zero(others) / 8;
    count = size - 1;
    if (count == whole) return false;
    const uint64_t before = (uint64_t{1} << 8 * whole) - 1;
    word = (word & before) | (word >> 8 & ~before);
  }
  if (begin[size] == '.' || begin[size] == 'e' || begin[size] == 'E') return false;
  *out = {eight_digits(word << 8 * (8 - count)), count, whole - count, negative, size == whole};
  *at = begin + size;
  return true;
}

// What is before a value: a bracket or a comma, the key and the colon. Rows mostly have the same.
class Lead {
 public:
  int field = 0;

  bool take(const char **at, const char *end) const {
    if (!size_ || static_cast<std::size_t>(end - *at) < sizeof text_) return false;
    uint64_t differs = 0;
    for (std::size_t i = 0; i < WORDS; ++i) {
      uint64_t word;
      std::memcpy(&word, *at + sizeof word * i, sizeof word);
      differs |= (word ^ text_[i]) & mask_[i];
    }
    if (differs) return false;
    *at += size_;
    return true;
  }

  void keep(const char *begin, const char *end, int before) {
    size_ = end - begin <= static_cast<int64_t>(sizeof text_) ? end - begin : 0;
    field = before;
    std::memset(text_, 0, sizeof text_);
    std::memset(mask_, 0, sizeof mask_);
    std::memcpy(text_, begin, static_cast<std::size_t>(size_));
    std::memset(mask_, 0xFF, static_cast<std::size_t>(size_));
  }

 private:
  static constexpr std::size_t WORDS = 4;
  int64_t size_ = 0;
  uint64_t text_[WORDS] = {}, mask_[WORDS] = {};
};

}  // namespace lossexport
