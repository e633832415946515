// The assignment of least total cost: shortest augmenting paths, Jonker and Volgenant 1987, in the
// form of Crouse, "On implementing 2D rectangular assignment algorithms", 2016.
#include <cmath>
#include <cstddef>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "arguments.h"

namespace lossexport {
namespace {

// Costs are scaled down if one is larger than this, so that no sum of them overflows.
constexpr double LARGE = 0x1p960, SMALLER = 0x1p-64;

// A total: first how many pairs in it are not allowed, then the cost of the others.
struct Total {
  int64_t banned;
  double cost;
};
Total operator+(Total a, Total b) { return {a.banned + b.banned, a.cost + b.cost}; }
Total operator-(Total a, Total b) { return {a.banned - b.banned, a.cost - b.cost}; }
bool operator<(Total a, Total b) {
  return a.banned < b.banned || (a.banned == b.banned && a.cost < b.cost);
}

// The matrix with its shorter side as rows.
struct Matrix {
  const double *cost;
  std::size_t rows, columns, row_step, column_step;
  double scale;

  double at(std::size_t i, std::size_t j) const {
    return cost[i * row_step + j * column_step] * scale;
  }
};

void get(const Matrix &matrix, std::size_t i, std::size_t j, double *cost) {
  *cost = matrix.at(i, j);
}
void get(const Matrix &matrix, std::size_t i, std::size_t j, Total *cost) {
  const double value = matrix.at(i, j);
  *cost = std::isfinite(value) ? Total{0, value} : Total{1, 0};
}

constexpr double FAR = std::numeric_limits<double>::infinity();
void set_far(double *number) { *number = FAR; }
void set_far(Total *number) { *number = {std::numeric_limits<int64_t>::max(), FAR}; }

constexpr std::size_t NONE = static_cast<std::size_t>(-1);

// The column of every row. `Number` is double if all costs are finite.
template <typename Number>
std::vector<std::size_t> solve(const Matrix &matrix) {
  const std::size_t n = matrix.rows, m = matrix.columns;
  std::vector<Number> u(n, Number{}), v(m, Number{}), shortest(m);
  std::vector<std::size_t> column_of(n, NONE), row_of(m, NONE), path(m), left(m), reached;
  Number far;
  set_far(&far);
  for (std::size_t start = 0; start < n; ++start) {
    shortest.assign(m, far);
    for (std::size_t j = 0; j < m; ++j) left[j] = j;
    std::size_t left_count = m, i = start, sink = NONE;
    Number least{};
    reached.clear();
    while (sink == NONE) {
      std::size_t best = 0;
      for (std::size_t k = 0; k < left_count; ++k) {
        const std::size_t j = left[k];
        Number here;
        get(matrix, i, j, &here);
        here = ((least + here) - u[i]) - v[j];
        if (here < shortest[j]) {
          shortest[j] = here;
          path[j] = i;
        }
        // Of equal columns a free one, then the first.
        const Number &lowest = shortest[left[best]];
        if (shortest[j] < lowest ||
            (!(lowest < shortest[j]) && row_of[j] == NONE && row_of[left[best]] != NONE))
          best = k;
      }
      const std::size_t j = left[best];
      least = shortest[j];
      reached.push_back(j);
      // The others keep their order.
      for (std::size_t k = best + 1; k < left_count; ++k) left[k - 1] = left[k];
      --left_count;
      if (row_of[j] == NONE)
        sink = j;
      else
        i = row_of[j];
    }
    u[start] = u[start] + least;
    for (const std::size_t j : reached) {
      const Number gap = least - shortest[j];
      if (row_of[j] != NONE) u[row_of[j]] = u[row_of[j]] + gap;
      v[j] = v[j] - gap;
    }
    for (std::size_t j = sink; j != NONE;) {
      i = path[j];
      row_of[j] = i;
      std::swap(column_of[i], j);
    }
  }
  return column_of;
}

void assign(const double *cost, std::size_t rows, std::size_t columns, int64_t *column) {
  double most = 0;
  bool finite = true;
  for (std::size_t k = 0; k < rows * columns; ++k) {
    const double size = std::abs(cost[k]);
    if (std::isfinite(size))
      most = size > most ? size : most;
    else
      finite = false;
  }
  const double scale = most > LARGE ? SMALLER : 1;
  const bool tall = rows > columns;
  const Matrix matrix = tall ? Matrix{cost, columns, rows, 1, columns, scale}
                             : Matrix{cost, rows, columns, columns, 1, scale};
  const std::vector<std::size_t> found = finite ? solve<double>(matrix) : solve<Total>(matrix);
  for (std::size_t i = 0; i < rows; ++i) column[i] = -1;
  for (std::size_t k = 0; k < found.size(); ++k) {
    const std::size_t i = tall ? found[k] : k, j = tall ? k : found[k];
    if (std::isfinite(cost[i * columns + j])) column[i] = static_cast<int64_t>(j);
  }
}

}  // namespace
}  // namespace lossexport

extern "C" int32_t lossexport_assign(const double *cost, int64_t rows, int64_t columns,
                                     int64_t *column) {
  using namespace lossexport;
  forget();
  if (rows < 0 || columns < 0 || (rows && !column) || (rows && columns && !cost))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "assign: the costs are missing");
  if (columns && rows > INT32_MAX / columns)
    return fail(LOSSEXPORT_TOO_LARGE, "assign: 2^31 costs or more");
  try {
    assign(cost, static_cast<std::size_t>(rows), static_cast<std::size_t>(columns), column);
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "assign: not enough memory");
  }
  return LOSSEXPORT_OK;
}
