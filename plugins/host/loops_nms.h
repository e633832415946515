// Greedy NMS: boxes by falling score, each compared with the kept boxes around it.
#pragma once

#include "loops_picks.h"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// A few kept boxes as planes, in a chain. The places that none has taken yet hold points, which
// remove no box.
struct Block {
  float plane[7][LINE];
  int64_t count;
  Block *next;

  void add(const Box &box) {
    const float values[] = {box.x1, box.y1, box.x2, box.y2, box.w, box.h, box.area};
    for (int k = 0; k < 7; ++k) plane[k][count] = values[k];
    ++count;
  }
  LX_INLINE Box operator[](int64_t i) const {
    return {plane[0][i], plane[1][i], plane[2][i], plane[3][i],
            plane[4][i], plane[5][i], plane[6][i], 0.0f};
  }
};

// Blocks of one life, in a few pieces of memory of growing size.
class Blocks {
 public:
  Blocks() = default;
  ~Blocks() {
    for (int k = 0; k < pieces_; ++k) std::free(piece_[k]);
  }
  Blocks(const Blocks &) = delete;
  Blocks &operator=(const Blocks &) = delete;
  Block *take(Block *next) {
    if (used_ == room(pieces_)) {
      const auto bytes = static_cast<std::size_t>(FIRST << pieces_) * sizeof(Block);
      piece_[pieces_] = static_cast<Block *>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
      if (!piece_[pieces_]) throw std::bad_alloc();
      ++pieces_;
    }
    Block *block = piece_[pieces_ - 1] + (used_++ - room(pieces_ - 1));
    *block = {};
    block->next = next;
    return block;
  }
  int64_t used() const { return used_; }
  template <typename Test>
  bool any(const Test &test) const {
    for (int k = 0; k < pieces_; ++k) {
      const int64_t last = smaller(used_, room(k + 1)) - room(k);
      for (int64_t i = 0; i < last; ++i)
        if (test(piece_[k][i])) return true;
    }
    return false;
  }

 private:
  static constexpr int64_t FIRST = 8;
  // How many blocks the first `pieces` pieces hold.
  static int64_t room(int pieces) { return (FIRST << pieces) - FIRST; }

  Block *piece_[40];
  int pieces_ = 0;
  int64_t used_ = 0;
};

// The boxes that are kept, found by their place. The plane is divided into square cells as large as
// a usual box. A kept box is listed in every cell that it reaches into. A box that it removes has
// more than `threshold` of each side in common with it, and so a point of its middle. Cells share
// lists by a hash, which only costs comparisons.
template <Metric M>
class Kept {
 public:
  // For at most `most` boxes.
  Kept(float threshold, float beta, int64_t most)
      : threshold_(threshold),
        beta_(beta),
        // Quotients are rounded: below the first none is above the threshold, from the second on
        // all are. Near a threshold of 0 all are divided, and the whole box is looked at.
        least_(threshold * 0.999999f),
        most_(threshold < 0.01f ? 2.0f : threshold * 1.000001f),
        margin_(threshold < 0.01f ? 0.0f : at_most(threshold, 0.5f) * 0.999f),
        lists_(lists_for(most)) {}

  void add(const Box &box) {
    if (kept_ == FEW) divide();
    ++kept_;
    const Cells cells = kept_ > FEW ? cells_of(box.x1, box.y1, box.x2, box.y2) : Cells{};
    if (kept_ <= FEW || cells.count() > MOST_CELLS) return put(&everywhere_, box);
    for (int32_t y = cells.top; y <= cells.bottom; ++y)
      for (int32_t x = cells.left; x <= cells.right; ++x) put(&lists_[list(x, y)], box);
  }

  bool remove(const Box &box) const {
    const BoxOf<Lanes> wide = {all(box.x1), all(box.y1), all(box.x2),   all(box.y2),
                               all(box.w),  all(box.h),  all(box.area), all(0.0f)};
    const auto removes = [&](const Block &block) { return this->removes(block, box, wide); };
    const auto one_of = [&](const Block *block) {
      for (; block; block = block->next)
        if (removes(*block)) return true;
      return false;
    };
    if (one_of(everywhere_)) return true;
    if (kept_ <= FEW) return false;
    const float slack_x = (magnitude(box.x1) + magnitude(box.x2)) * 1e-6f;
    const float slack_y = (magnitude(box.y1) + magnitude(box.y2)) * 1e-6f;
    const float x = margin_ * box.w - slack_x, y = margin_ * box.h - slack_y;
    const Cells cells = cells_of(box.x1 + x, box.y1 + y, box.x2 - x, box.y2 - y);
    if (cells.count() > blocks_.used()) return blocks_.any(removes);
    for (int32_t row = cells.top; row <= cells.bottom; ++row)
      for (int32_t column = cells.left; column <= cells.right; ++column)
        if (one_of(lists_[list(column, row)])) return true;
    return false;
  }

 private:
  static constexpr int64_t FEW = 64;         // so many are compared with every box
  static constexpr int64_t MOST_CELLS = 32;  // so are boxes that reach into more
  static constexpr int32_t FAR = 1 << 30;

  struct Cells {
    int32_t left, top, right, bottom;

    int64_t count() const {
      return (static_cast<int64_t>(right) - left + 1) * (static_cast<int64_t>(bottom) - top + 1);
    }
  };

  static int64_t lists_for(int64_t most) {
    int64_t lists = most > FEW ? 16 : 0;
    while (lists && lists * 32 < most) lists *= 2;
    return lists;
  }

  // The number of a cell never falls where the coordinate rises.
  int32_t cell(float x) const {
    const float at = x * scale_;
    if (!(at > -FAR)) return -FAR;
    if (at >= FAR) return FAR;
    const int32_t whole = static_cast<int32_t>(at);
    return whole - (static_cast<float>(whole) > at);
  }
  Cells cells_of(float left, float top, float right, float bottom) const {
    return {cell(left), cell(top), cell(right), cell(bottom)};
  }
  int64_t list(int32_t x, int32_t y) const {
    uint32_t hash = static_cast<uint32_t>(x) * 0x9e3779b1u ^ static_cast<uint32_t>(y) * 0x85ebca77u;
    hash ^= hash >> 15;
    return hash & static_cast<uint32_t>(lists_.size() - 1);
  }

  void put(Block **list, const Box &box) {
    if (!*list || (*list)->count == LINE) *list = blocks_.take(*list);
    (*list)->add(box);
  }

  // The side of the cells is the median of the sides of those kept so far, which were compared with
  // every box.
  void divide() {
    for (int64_t i = 0; i < lists_.size(); ++i) lists_[i] = nullptr;
    float sides[FEW];
    int64_t count = 0;
    for (const Block *block = everywhere_; block; block = block->next)
      for (int64_t i = 0; i < block->count; ++i) {
        const float side = ((*block)[i].w + (*block)[i].h) * 0.5f;
        int64_t place = count++;
        for (; place > 0 && sides[place - 1] > side; --place) sides[place] = sides[place - 1];
        sides[place] = side;
      }
    scale_ = 1.0f / at_least(sides[FEW / 2], 1e-30f);
  }

  // Nearly all blocks are decided by a product. Where it is too close to the threshold, the
  // quotient decides, rounded as everywhere.
  bool removes(const Block &block, const Box &box, const BoxOf<Lanes> &wide) const {
    bool near = false;
    for (int64_t i = 0; i < LINE; i += LANES) {
      const auto at = [&](int k) { return load(block.plane[k] + i); };
      const BoxOf<Lanes> kept = {at(0), at(1), at(2), at(3), at(4), at(5), at(6), all(0.0f)};
      const Meeting<Lanes> m = meet(kept, wide);
      const Lanes together = at_least(m.together, TINY);
      if (M == IOU && any_reaches(m.intersection, at_least(together * most_, TINY))) return true;
      near = near || any_reaches(m.intersection, together * least_);
    }
    if (!near) return false;
    int hits = 0;
    if (beta_ == 1.0f) {
#pragma omp simd reduction(| : hits)
      for (int64_t i = 0; i < LINE; ++i)
        hits |= rivalry<M>(block[i], box, 1.0f) > threshold_ ? 1 : 0;
    } else {
#pragma omp simd reduction(| : hits)
      for (int64_t i = 0; i < LINE; ++i)
        hits |= rivalry<M>(block[i], box, beta_) > threshold_ ? 1 : 0;
    }
    return hits;
  }

  float threshold_, beta_, least_, most_, margin_, scale_ = 0;
  int64_t kept_ = 0;
  Block *everywhere_ = nullptr;
  mutable Buffer<Block *> lists_;
  Blocks blocks_;
};

// Boxes after the last one that is written are neither sorted nor compared.
template <Metric M>
void nms(const Call &call) {
  const Floats boxes(call.inputs[0]), scores(call.inputs[1]);
  const float threshold = static_cast<float>(call.attributes[0]);
  const float floor = static_cast<float>(call.attributes[1]);
  const float beta = static_cast<float>(call.attributes[3]);
  int64_t *indices = whole(call.outputs[0]);
  const int64_t room = call.outputs[0].shape[0];

  Buffer<Rival> rivals(scores.size());
  const int64_t count = rivals_among(boxes, scores, floor, rivals.data());
  Kept<M> kept(threshold, beta, smaller(room, count));
  int64_t picked = 0;
  Sorting sorting(rivals.data(), count);
  while (sorting.left() && picked < room) {
    const int64_t place = place_of(sorting.next());
    const Box box = load_box<M>(boxes.data() + 4 * place);
    if (kept.remove(box)) continue;
    kept.add(box);
    indices[picked++] = place;
  }
  finish(call, picked);
}

void cluster_nms(const Call &call) {
  if (call.attributes[4] == 0) return nms<IOU>(call);
  nms<DIOU>(call);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport
