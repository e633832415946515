// Reads the rows of COCO json. Whatever is not plain is left to the caller's reader.
#include "rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "arguments.h"
#include "rows_words.h"

namespace lossexport {
namespace {

constexpr int DEEPEST = 32;
constexpr int64_t MOST_DIGITS = 18;
// Powers of ten that are exact as doubles.
constexpr double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int64_t MOST_TENS = 22;
constexpr uint64_t MOST_EXACT = uint64_t{1} << 53;

enum Field {
  IMAGE,
  CATEGORY,
  BOX,
  SCORE,
  LOG_VARIANCE,
  ID,
  AREA,
  CROWD,
  IGNORE,
  RBOX,
  OBB,
  FIELDS
};

constexpr std::string_view NAMES[FIELDS] = {"image_id",     "category_id", "bbox", "score",
                                            "log_variance", "id",          "area", "iscrowd",
                                            "ignore",       "rbox",        "obb"};

constexpr unsigned bit(Field field) { return 1u << field; }

constexpr unsigned ORIENTED = bit(RBOX) | bit(OBB);
constexpr unsigned DETECTION =
    bit(IMAGE) | bit(CATEGORY) | bit(BOX) | bit(SCORE) | bit(LOG_VARIANCE) | ORIENTED;
constexpr unsigned ANNOTATION = bit(IMAGE) | bit(CATEGORY) | bit(BOX) | bit(ID) | bit(AREA) |
                                bit(CROWD) | bit(IGNORE) | ORIENTED;
constexpr unsigned OPTIONAL = bit(LOG_VARIANCE) | bit(AREA) | bit(CROWD) | bit(IGNORE) | ORIENTED;

bool is_digit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

// Takes one element after the other. A function is false if the text is not plain where `at_` is,
// or ends there: the NUL byte after the text fits nowhere.
class Reader {
 public:
  Reader(const char *text, int64_t length, const lossexport_rows &rows)
      : at_(text), end_(text + length), rows_(rows), known_(rows.score ? DETECTION : ANNOTATION) {
    std::fill_n(order_, int{FIELDS}, -1);
  }

  const char *at() const { return at_; }
  bool ended() const { return at_ >= end_; }

  void space() {
    while (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t') ++at_;
  }

  bool take(char mark) {
    space();
    if (*at_ != mark) return false;
    ++at_;
    return true;
  }

  bool row(int64_t place) {
    unsigned seen = 0;
    if (rows_.area) {
      rows_.area[place] = std::numeric_limits<double>::quiet_NaN();
      rows_.crowd[place] = rows_.ignore[place] = 0;
    }
    space();
    for (int turn = 0;; ++turn) {
      int field = FIELDS;
      if (turn < FIELDS && leads_[turn].take(&at_, end_)) {
        field = leads_[turn].field;
      } else {
        const char *const begin = at_;
        if (!take(turn ? ',' : '{')) return false;
        field = key(turn);
        if (field < 0 || !take(':')) return false;
        space();
        if (turn < FIELDS && field < FIELDS) leads_[turn].keep(begin, at_, field);
      }
      if (field == FIELDS) {
        if (!skip(0)) return false;
      } else {
        if (!value(static_cast<Field>(field), place)) return false;
        seen |= 1u << field;
      }
      space();
      if (*at_ == '}') {
        ++at_;
        return (known_ & ~OPTIONAL & ~seen) == 0 && (!rows_.area || sized(place));
      }
    }
  }

 private:
  // Gives an annotation its area; false if that is impossible.
  bool sized(int64_t place) const {
    double &area = rows_.area[place];
    const double *const size = rows_.box + 4 * place + 2;
    if (std::isnan(area)) area = size[0] * size[1];
    return area >= 0 && std::isfinite(area);
  }

  // The field of a key; FIELDS for one that is not read, -1 if there is none. Rows mostly have the
  // same keys in the same order.
  int key(int turn) {
    if (!take('"')) return -1;
    if (turn < FIELDS && order_[turn] >= 0 && is(NAMES[order_[turn]])) return order_[turn];
    for (int field = 0; field < FIELDS; ++field) {
      if ((known_ >> field & 1) && is(NAMES[field])) {
        if (turn < FIELDS) order_[turn] = field;
        return field;
      }
    }
    return text() ? FIELDS : -1;
  }

  // Takes a name and the quote after it.
  bool is(std::string_view name) {
    const std::size_t size = name.size();
    if (static_cast<std::size_t>(end_ - at_) <= size || at_[size] != '"' ||
        std::memcmp(at_, name.data(), size) != 0)
      return false;
    at_ += size + 1;
    return true;
  }

  // The rest of a text and the quote after it.
  bool text() {
    while (static_cast<unsigned char>(*at_) >= ' ' && *at_ != '"' && *at_ != '\\') ++at_;
    if (*at_ != '"') return false;
    ++at_;
    return true;
  }

  bool word(std::string_view name) {
    if (static_cast<std::size_t>(end_ - at_) < name.size() ||
        std::memcmp(at_, name.data(), name.size()) != 0) {
      if (name.starts_with(std::string_view(at_, static_cast<std::size_t>(end_ - at_)))) at_ = end_;
      return false;
    }
    at_ += name.size();
    return true;
  }

  bool value(Field field, int64_t place) {
    switch (field) {
      case IMAGE:
        return whole(&rows_.image[place]);
      case CATEGORY:
        return whole(&rows_.category[place]);
      case ID:
        return whole(&rows_.id[place]);
      case BOX:
        return box(rows_.box + 4 * place);
      case SCORE:
        return real(&rows_.score[place]) && std::abs(rows_.score[place]) <= rows_.most_score;
      case AREA:
        if (*at_ != 'n') return real(&rows_.area[place]);
        rows_.area[place] = std::numeric_limits<double>::quiet_NaN();
        return word("null");
      case CROWD:
        return flag(&rows_.crowd[place], 1);
      case IGNORE:
        return flag(&rows_.ignore[place], std::numeric_limits<int64_t>::max());
      default:
        return word("null");
    }
  }

  bool box(double *out) {
    if (!take('[')) return false;
    double most = 0;
    for (int i = 0; i < 4; ++i) {
      space();
      if (!real(out + i) || !take(i < 3 ? ',' : ']')) return false;
      most = std::max(most, std::abs(out[i]));
    }
    return most <= rows_.most_size && (rows_.score || (out[2] >= 0 && out[3] >= 0));
  }

  // A whole number from 0 to `most`, true, false or null.
  bool flag(uint8_t *out, int64_t most) {
    int64_t number = 0;
    switch (*at_) {
      case 't':
        number = 1;
        if (!word("true")) return false;
        break;
      case 'f':
        if (!word("false")) return false;
        break;
      case 'n':
        if (!word("null")) return false;
        break;
      default:
        if (!whole(&number) || number < 0 || number > most) return false;
    }
    *out = number != 0;
    return true;
  }

  bool digits(Number *out) {
    const char *const begin = at_;
    for (; is_digit(*at_); ++at_)
      out->digits = 10 * out->digits + static_cast<uint64_t>(*at_ - '0');
    out->count += at_ - begin;
    return at_ != begin;
  }

  bool number(Number *out) {
    if (take_short_number(&at_, end_, out)) return true;
    out->negative = *at_ == '-';
    at_ += out->negative;
    const bool zero = *at_ == '0';
    if (!digits(out)) return false;
    if (zero && out->count > 1) return false;
    if (*at_ == '.') {
      out->whole = false;
      ++at_;
      const int64_t before = out->count;
      if (!digits(out)) return false;
      out->exponent = before - out->count;
    }
    if (*at_ != 'e' && *at_ != 'E') return true;
    out->whole = false;
    ++at_;
    const bool negative = *at_ == '-';
    at_ += negative || *at_ == '+';
    Number power;
    if (!digits(&power)) return false;
    if (power.count > MOST_DIGITS) return false;
    out->exponent +=
        negative ? -static_cast<int64_t>(power.digits) : static_cast<int64_t>(power.digits);
    return true;
  }

  bool whole(int64_t *out) {
    const char *const begin = at_;
    Number found;
    if (!number(&found)) return false;
    if (!found.whole || found.count > MOST_DIGITS || (found.negative && !found.digits)) {
      if (!ended()) at_ = begin;
      return false;
    }
    *out = static_cast<int64_t>(found.negative ? -found.digits : found.digits);
    return true;
  }

  bool real(double *out) {
    const char *const begin = at_;
    Number found;
    if (!number(&found)) return false;
    if (found.whole && found.negative && !found.digits && !ended()) return (at_ = begin, false);
    if (found.count <= MOST_DIGITS && found.digits <= MOST_EXACT && found.exponent <= MOST_TENS &&
        found.exponent >= -MOST_TENS) {
      // Of two exact numbers the quotient or the product is rounded once.
      const double exact = static_cast<double>(found.digits);
      const double size =
          found.exponent < 0 ? exact / TENS[-found.exponent] : exact * TENS[found.exponent];
      *out = found.negative ? -size : size;
      return true;
    }
#if defined(__cpp_lib_to_chars)
    const auto [last, error] = std::from_chars(begin, at_, *out);
    if (error == std::errc() && last == at_) return true;
#endif
    if (!ended()) at_ = begin;
    return false;
  }

  // Any value.
  bool skip(int depth) {
    Number ignored;
    switch (*at_) {
      case '"':
        ++at_;
        return text();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      case '[':
      case '{':
        return depth < DEEPEST && inside(depth + 1);
      default:
        return number(&ignored);
    }
  }

  // An array or an object.
  bool inside(int depth) {
    const bool object = *at_++ == '{';
    const char last = object ? '}' : ']';
    space();
    if (*at_ == last) {
      ++at_;
      return true;
    }
    for (;;) {
      if (object && !(take('"') && text() && take(':'))) return false;
      space();
      if (!skip(depth)) return false;
      space();
      if (*at_ != ',') break;
      ++at_;
      space();
    }
    return take(last);
  }

  const char *at_;
  const char *const end_;
  const lossexport_rows &rows_;
  const unsigned known_;
  int order_[FIELDS];
  Lead leads_[FIELDS];
};

void read_rows(const char *text, int64_t length, bool first, const lossexport_rows &rows,
               int64_t *count, int64_t *used, int32_t *end) {
  Reader reader(text, length, rows);
  for (;;) {
    reader.space();
    if (first && *count == 0 && reader.take(']')) break;
    if (reader.ended()) return void(*end = LOSSEXPORT_ROWS_CUT);
    if (*count == rows.capacity) return void(*end = LOSSEXPORT_ROWS_FULL);
    bool plain = reader.row(*count);
    bool closed = false;
    if (plain) {
      closed = reader.take(']');
      plain = closed || reader.take(',');
    }
    if (!plain) return void(*end = reader.ended() ? LOSSEXPORT_ROWS_CUT : LOSSEXPORT_ROWS_ODD);
    *used = reader.at() - text;
    ++*count;
    if (closed) break;
  }
  *used = reader.at() - text;
  *end = LOSSEXPORT_ROWS_CLOSED;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_take_rows(const char *text, int64_t length, int32_t first,
                             const lossexport_rows *rows, int64_t *count, int64_t *used,
                             int32_t *end) {
  using namespace lossexport;
  forget();
  if (!text || length < 0 || text[length] || !rows || !count || !used || !end)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "rows: no text, or no memory to write to");
  const bool plain = rows->image && rows->category && rows->box && rows->capacity >= 0;
  const bool annotations = rows->id && rows->area && rows->crowd && rows->ignore;
  if (!plain || annotations == (rows->score != nullptr))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "rows: a column is missing");
  *count = *used = 0;
  read_rows(text, length, first, *rows, count, used, end);
  return LOSSEXPORT_OK;
}

}  // extern "C"
