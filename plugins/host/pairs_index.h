// The references of one image and category, in an order in which those that a box may overlap are
// found without looking at all of them.
#pragma once

#include <cstdint>
#include <vector>

namespace lossexport {

// x1, y1, x2, y2 and the area, rounded as the COCO API rounds them.
struct Edges {
  double x1, y1, x2, y2, area;
  // Small enough roundings that the overlap cannot exceed what the sides allow.
  bool sane;

  // Of x, y, width, height.
  explicit Edges(const double *box);
};

struct Candidate {
  double iou;
  int32_t ref;
  int32_t id;
};

// A tree over boxes of one kind: sixteen make a block, up to eight blocks or nodes a node.
class Tree {
 public:
  explicit Tree(bool sized) : sized_(sized) {}
  void clear();
  void add(const Edges &box, bool crowd, int32_t ref);
  void build();
  // Appends every box that `box` overlaps by `threshold` or more, in no order.
  void find(const Edges &box, double threshold, std::vector<Candidate> *found) const;
  void remove(int64_t place);
  int64_t live() const { return live_; }
  int64_t places() const { return static_cast<int64_t>(ref_.size()); }
  // The reference at a place; -1 beyond the last or if it was removed.
  int32_t ref(int64_t place) const { return ref_[static_cast<std::size_t>(place)]; }
  // Closes the gaps that removals have left.
  void rebuild();

 private:
  struct Bounds {
    double low[4], high[4];  // of x1, y1, x2, y2
  };
  struct Level {
    std::size_t first;  // in bounds_ and alive_
    int64_t count;
  };
  struct Query;

  void split(int64_t begin, int64_t end);
  int widest(int64_t begin, int64_t end) const;
  void bound();
  void descend(const Query &query, std::size_t level, int64_t first, int64_t last) const;
  void scan(const Query &query, int64_t block) const;

  bool sized_;  // all are sane and none is a crowd, so that sizes may decide
  int64_t live_ = 0;
  std::vector<Edges> boxes_;
  std::vector<int32_t> refs_;
  std::vector<uint8_t> crowds_;
  std::vector<int64_t> order_;
  // In the order of the tree, whole blocks.
  std::vector<double> x1_, y1_, x2_, y2_, area_;
  std::vector<int32_t> ref_;
  std::vector<uint8_t> crowd_;
  std::vector<Bounds> bounds_;
  std::vector<int32_t> alive_;  // boxes in each block, nodes or blocks in each node
  std::vector<Level> levels_;
};

class Index {
 public:
  Index() : sized_(true), others_(false) {}
  // Begins anew with `count` references, which are then added with 0 <= ref < count.
  void clear(int64_t count);
  void add(const Edges &box, bool crowd, int32_t ref) {
    if (small_) return few_.push_back({box, ref, crowd});
    (box.sane && !crowd ? sized_ : others_).add(box, crowd, ref);
  }
  void build();
  // Replaces `found` by every reference that `box` overlaps by `threshold` or more, in no order.
  void find(const Edges &box, double threshold, std::vector<Candidate> *found) const;
  void remove(int32_t ref);

 private:
  // So few references are looked at one by one.
  static constexpr int64_t FEW = 8;
  struct Reference {
    Edges box;
    int32_t ref;
    bool crowd;
  };

  void note_places(const Tree &tree);

  bool small_ = true;
  std::vector<Reference> few_;
  Tree sized_, others_;
  std::vector<int64_t> place_;  // of each reference in its tree, -1 without one
  std::vector<uint8_t> other_;
};

}  // namespace lossexport
