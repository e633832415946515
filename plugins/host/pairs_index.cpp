// A tree of boxes for the search of overlaps. It only skips what cannot reach the threshold; the
// overlaps that decide are computed in float64 by the operations of the COCO API, in their order.
#include "pairs_index.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace lossexport {
namespace {

constexpr int64_t BLOCK = 16, FAN = 8;
constexpr double NEVER = std::numeric_limits<double>::max();
// A sane box has roundings of at most 2^-23 of its sides. What the sides allow is compared with
// this part of the threshold, far more than these roundings can amount to.
constexpr double LARGEST_COORDINATE = 1 << 30, SLACK = 1 - 0x1p-10;
constexpr double SMALLEST_SIDE = 1e-140;
// i / u reaches t only if i reaches t * u, but for the last bit of three roundings.
constexpr double LAST_BITS = 1 - 0x1p-50, SMALLEST_THRESHOLD = 1e-20;

bool sane_side(double low, double high, double side) {
  const double most = LARGEST_COORDINATE * side;
  return side > SMALLEST_SIDE && std::abs(low) <= most && std::abs(high) <= most;
}

std::size_t at(int64_t place) { return static_cast<std::size_t>(place); }

}  // namespace

Edges::Edges(const double *box)
    : x1(box[0]),
      y1(box[1]),
      x2(box[2] + box[0]),
      y2(box[3] + box[1]),
      area(box[2] * box[3]),
      sane(sane_side(x1, x2, box[2]) && sane_side(y1, y2, box[3])) {}

struct Tree::Query {
  Edges box;
  double threshold;
  double reached;  // that the product with the union has to be reached by the intersection
  double allowed;  // that what the sides allow has to reach
  bool sized;
  std::vector<Candidate> *found;

  bool may_overlap(const Bounds &bounds) const {
    const double width = std::min(box.x2, bounds.high[2]) - std::max(box.x1, bounds.low[0]);
    const double height = std::min(box.y2, bounds.high[3]) - std::max(box.y1, bounds.low[1]);
    if (!(width > 0 && height > 0)) return false;
    if (!sized) return true;
    // The IoU is at most that of the boxes' sides on either axis, and at most the part of the
    // box that is inside the other.
    const double across = std::max(box.x2, bounds.low[2]) - std::min(box.x1, bounds.high[0]);
    const double down = std::max(box.y2, bounds.low[3]) - std::min(box.y1, bounds.high[1]);
    return width >= allowed * across && height >= allowed * down &&
           width * height >= allowed * box.area;
  }
};

void Tree::clear() {
  boxes_.clear();
  refs_.clear();
  crowds_.clear();
}

void Tree::add(const Edges &box, bool crowd, int32_t ref) {
  boxes_.push_back(box);
  refs_.push_back(ref);
  crowds_.push_back(crowd);
}

void Tree::build() {
  const int64_t count = static_cast<int64_t>(boxes_.size());
  order_.resize(boxes_.size());
  for (int64_t i = 0; i < count; ++i) order_[at(i)] = i;
  split(0, count);
  const std::size_t room = at((count + BLOCK - 1) / BLOCK * BLOCK);
  x1_.assign(room, NEVER);
  y1_.assign(room, NEVER);
  x2_.assign(room, -NEVER);
  y2_.assign(room, -NEVER);
  area_.assign(room, 1);
  ref_.assign(room, -1);
  crowd_.assign(room, 0);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::size_t from = at(order_[i]);
    const Edges &box = boxes_[from];
    x1_[i] = box.x1;
    y1_[i] = box.y1;
    x2_[i] = box.x2;
    y2_[i] = box.y2;
    area_[i] = box.area;
    ref_[i] = refs_[from];
    crowd_[i] = crowds_[from];
  }
  live_ = count;
  bound();
}

// Orders a range so that boxes near each other and of like size are in the same blocks.
void Tree::split(int64_t begin, int64_t end) {
  while (end - begin > BLOCK) {
    const uint64_t blocks = static_cast<uint64_t>((end - begin + BLOCK - 1) / BLOCK);
    // A power of two, so that nodes do not reach beyond a part.
    const int64_t middle = begin + static_cast<int64_t>(std::bit_ceil(blocks) / 2) * BLOCK;
    const int axis = widest(begin, end);
    const auto key = [this, axis](int64_t i) {
      const Edges &box = boxes_[at(i)];
      switch (axis) {
        case 0:
          return box.x1 + box.x2;
        case 1:
          return box.y1 + box.y2;
        case 2:
          return box.x2 - box.x1;
        default:
          return box.y2 - box.y1;
      }
    };
    std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                     [&](int64_t a, int64_t b) { return key(a) < key(b); });
    split(middle, end);
    end = middle;
  }
}

// Of the centres and the sides, on both axes, what differs most: in units of a side.
int Tree::widest(int64_t begin, int64_t end) const {
  double low[4], high[4], sum[2] = {0, 0};
  std::fill_n(low, 4, NEVER);
  std::fill_n(high, 4, -NEVER);
  for (int64_t i = begin; i < end; ++i) {
    const Edges &box = boxes_[at(order_[at(i)])];
    const double width = box.x2 - box.x1, height = box.y2 - box.y1;
    const double keys[4] = {box.x1 + box.x2, box.y1 + box.y2, width, height};
    for (int k = 0; k < 4; ++k) {
      low[k] = std::min(low[k], keys[k]);
      high[k] = std::max(high[k], keys[k]);
    }
    sum[0] += width;
    sum[1] += height;
  }
  int best = 0;
  double most = -1;
  for (int k = 0; k < 4; ++k) {
    const double mean = sum[k % 2] / static_cast<double>(end - begin);
    // Sides e times as long separate as well as a step of one side does.
    const double spread = k < 2 ? (high[k] - low[k]) / (2 * mean)
                                : std::log(high[k] / std::max(low[k], high[k] * 0x1p-40));
    if (spread > most) {
      most = spread;
      best = k;
    }
  }
  return best;
}

void Tree::bound() {
  bounds_.clear();
  alive_.clear();
  levels_.clear();
  const int64_t places = static_cast<int64_t>(x1_.size());
  for (int64_t first = 0; first < places; first += BLOCK) {
    Bounds bounds = {{NEVER, NEVER, NEVER, NEVER}, {-NEVER, -NEVER, -NEVER, -NEVER}};
    int32_t alive = 0;
    for (std::size_t i = at(first); i < at(first + BLOCK) && ref_[i] >= 0; ++i, ++alive) {
      const double edges[4] = {x1_[i], y1_[i], x2_[i], y2_[i]};
      for (int k = 0; k < 4; ++k) {
        bounds.low[k] = std::min(bounds.low[k], edges[k]);
        bounds.high[k] = std::max(bounds.high[k], edges[k]);
      }
    }
    bounds_.push_back(bounds);
    alive_.push_back(alive);
  }
  levels_.push_back({0, places / BLOCK});
  while (levels_.back().count > FAN) {
    const Level below = levels_.back();
    const Level here = {bounds_.size(), (below.count + FAN - 1) / FAN};
    for (int64_t node = 0; node < here.count; ++node) {
      const int64_t last = std::min((node + 1) * FAN, below.count);
      Bounds bounds = bounds_[below.first + at(node * FAN)];
      for (int64_t child = node * FAN + 1; child < last; ++child) {
        const Bounds &other = bounds_[below.first + at(child)];
        for (int k = 0; k < 4; ++k) {
          bounds.low[k] = std::min(bounds.low[k], other.low[k]);
          bounds.high[k] = std::max(bounds.high[k], other.high[k]);
        }
      }
      bounds_.push_back(bounds);
      alive_.push_back(static_cast<int32_t>(last - node * FAN));
    }
    levels_.push_back(here);
  }
}

void Tree::find(const Edges &box, double threshold, std::vector<Candidate> *found) const {
  if (!live_) return;
  const bool tiny = threshold < SMALLEST_THRESHOLD;
  const Query query = {.box = box,
                       .threshold = threshold,
                       .reached = tiny ? 0 : threshold * LAST_BITS,
                       .allowed = tiny ? 0 : threshold * SLACK,
                       .sized = sized_ && box.sane,
                       .found = found};
  descend(query, levels_.size() - 1, 0, levels_.back().count);
}

void Tree::descend(const Query &query, std::size_t level, int64_t first, int64_t last) const {
  const Level &here = levels_[level];
  for (int64_t node = first; node < last; ++node) {
    const std::size_t place = here.first + at(node);
    if (!alive_[place] || !query.may_overlap(bounds_[place])) continue;
    if (!level) {
      scan(query, node);
      continue;
    }
    descend(query, level - 1, node * FAN, std::min((node + 1) * FAN, levels_[level - 1].count));
  }
}

void Tree::scan(const Query &query, int64_t block) const {
  const Edges &box = query.box;
  const std::size_t first = at(block * BLOCK);
  const double *x1 = &x1_[first], *y1 = &y1_[first], *x2 = &x2_[first], *y2 = &y2_[first];
  const double *area = &area_[first];
  const uint8_t *crowd = &crowd_[first];
  double inside[BLOCK], whole[BLOCK];
  for (int64_t i = 0; i < BLOCK; ++i) {
    const double width = std::min(box.x2, x2[i]) - std::max(box.x1, x1[i]);
    const double height = std::min(box.y2, y2[i]) - std::max(box.y1, y1[i]);
    inside[i] = (width > 0) & (height > 0) ? width * height : 0.0;
    whole[i] = box.area + area[i] - inside[i];
  }
  if (!sized_) {
    for (int64_t i = 0; i < BLOCK; ++i) whole[i] = crowd[i] ? box.area : whole[i];
  }
  double best = -1;
  for (int64_t i = 0; i < BLOCK; ++i) {
    best = std::max(best, inside[i] - query.reached * whole[i]);
  }
  if (best < 0) return;
  for (int64_t i = 0; i < BLOCK; ++i) {
    if (!(inside[i] > 0)) continue;
    const double iou = inside[i] / whole[i];
    const int32_t ref = ref_[first + at(i)];
    if (iou >= query.threshold) query.found->push_back({iou, ref, ref});
  }
}

void Tree::remove(int64_t place) {
  const std::size_t i = at(place);
  x1_[i] = y1_[i] = NEVER;
  x2_[i] = y2_[i] = -NEVER;
  ref_[i] = -1;
  --live_;
  int64_t node = place / BLOCK;
  for (const Level &level : levels_) {
    if (--alive_[level.first + at(node)]) break;
    node /= FAN;
  }
}

void Tree::rebuild() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (ref_[i] >= 0) order_[kept++] = order_[i];
  }
  order_.resize(kept);
  std::sort(order_.begin(), order_.end());
  for (std::size_t i = 0; i < kept; ++i) {
    const std::size_t from = at(order_[i]);
    boxes_[i] = boxes_[from];
    refs_[i] = refs_[from];
    crowds_[i] = crowds_[from];
  }
  boxes_.erase(boxes_.begin() + static_cast<std::ptrdiff_t>(kept), boxes_.end());
  refs_.resize(kept);
  crowds_.resize(kept);
  build();
}

void Index::clear(int64_t count) {
  few_.clear();
  small_ = count <= FEW;
  if (small_) return;
  sized_.clear();
  others_.clear();
  place_.assign(at(count), -1);
  other_.assign(at(count), 0);
}

void Index::build() {
  if (small_) return;
  sized_.build();
  others_.build();
  note_places(sized_);
  note_places(others_);
}

void Index::find(const Edges &box, double threshold, std::vector<Candidate> *found) const {
  found->clear();
  if (small_) {
    for (const Reference &one : few_) {
      const double width = std::min(box.x2, one.box.x2) - std::max(box.x1, one.box.x1);
      const double height = std::min(box.y2, one.box.y2) - std::max(box.y1, one.box.y1);
      if (!(width > 0 && height > 0)) continue;
      const double inside = width * height;
      const double iou = inside / (one.crowd ? box.area : box.area + one.box.area - inside);
      if (inside > 0 && iou >= threshold) found->push_back({iou, one.ref, one.ref});
    }
    return;
  }
  sized_.find(box, threshold, found);
  others_.find(box, threshold, found);
}

void Index::remove(int32_t ref) {
  if (small_) {
    std::erase_if(few_, [ref](const Reference &one) { return one.ref == ref; });
    return;
  }
  int64_t &place = place_[at(ref)];
  if (place < 0) return;
  Tree &tree = other_[at(ref)] ? others_ : sized_;
  tree.remove(place);
  place = -1;
  if (tree.live() && 2 * tree.live() < tree.places()) {
    tree.rebuild();
    note_places(tree);
  }
}

void Index::note_places(const Tree &tree) {
  for (int64_t i = 0; i < tree.places(); ++i) {
    const int32_t ref = tree.ref(i);
    if (ref < 0) continue;
    place_[at(ref)] = i;
    other_[at(ref)] = &tree == &others_;
  }
}

}  // namespace lossexport
