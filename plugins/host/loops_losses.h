// AP loss and the GHM losses.
#pragma once

#include "loops_tensors.h"
#include "../kernels/harmonise.cuh"
#include "../kernels/ranking.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The sum of ramp(scores[i] - row), moved to double after every few terms.
double summed_ramp(const float *scores, int64_t count, float row, float delta) {
  double total = 0;
  for (int64_t first = 0; first < count; first += TILE) {
    const int64_t size = smaller(TILE, count - first);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; ++i) sum += ramp(scores[first + i], row, delta);
    total += sum;
  }
  return total;
}

void ap_loss(const Call &call) {
  const Floats logits(call.inputs[0]);
  const int64_t *target = labels(call.inputs[1]);
  const float delta = static_cast<float>(call.attributes[0]);
  const int64_t count = logits.size();
  int64_t positives = 0, negatives = 0;
  float poison = 0;
  for (int64_t i = 0; i < count; ++i) {
    positives += target[i] == 1;
    negatives += target[i] == 0;
    poison += logits[i] * 0.0f;
  }
  const bool spoilt = poison != 0 || static_cast<double>(positives) > call.attributes[1];
  const float nan = from_bits(0x7fc00000u);
  const Sink loss(call.outputs[0]);
  const bool wanted = call.output_count > 1;
  if (spoilt || positives == 0) {
    loss.write(0, spoilt ? nan : 0.0f);
    for (int64_t i = 0; wanted && i < count; ++i)
      Sink(call.outputs[1]).write(i, spoilt ? nan : 0.0f);
    return;
  }
  Buffer<float> score(positives), rival(negatives), above(positives), error(positives),
      share(positives);
  int64_t p = 0, q = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (target[i] == 1) score[p++] = logits[i];
    if (target[i] == 0) rival[q++] = logits[i];
  }
  each(positives, static_cast<double>(positives) * count, call.threads, [&](int64_t i) {
    above[i] = static_cast<float>(summed_ramp(rival.data(), negatives, score[i], delta));
    const double equals = summed_ramp(score.data(), positives, score[i], delta);
    error[i] = ranking_error(above[i], static_cast<float>(delta + equals));
  });
  // Interpolated precision: the smallest error of all positives that are not higher.
  Buffer<Rival> order(positives);
  for (int64_t i = 0; i < positives; ++i) order[i] = as_rival(score[i], i);
  sort_rivals(order.data(), order.data() + positives, positives);
  double total = 0;
  float least = 1.0f;
  for (int64_t i = positives; i-- > 0;) {
    // Equal scores count for each other: read the whole run before writing any of it.
    int64_t first = i;
    while (first > 0 && score[place_of(order[first - 1])] == score[place_of(order[i])]) --first;
    for (int64_t k = first; k <= i; ++k) least = at_most(least, error[place_of(order[k])]);
    for (int64_t k = first; k <= i; ++k) {
      share[place_of(order[k])] = least / static_cast<float>(positives);
      total += least / static_cast<float>(positives);
    }
    i = first;
  }
  loss.write(0, static_cast<float>(total));
  if (!wanted) return;
  const Sink grad(call.outputs[1]);
  Buffer<float> pull(positives);
  for (int64_t i = 0; i < positives; ++i) pull[i] = pull_of(share[i], above[i]);
  Buffer<int32_t> slot(count);
  for (int64_t i = 0, k = 0; i < count; ++i)
    slot[i] = target[i] == 1 ? static_cast<int32_t>(k++) : -1;
  each((count + TILE - 1) / TILE, static_cast<double>(positives) * count, call.threads,
       [&](int64_t tile) {
         const int64_t first = tile * TILE, size = smaller(TILE, count - first);
         float update[TILE], part[TILE];
         for (int64_t j = 0; j < size; ++j) update[j] = 0;
         for (int64_t rows = 0; rows < positives; rows += 64) {
           for (int64_t j = 0; j < size; ++j) part[j] = 0;
           for (int64_t i = rows; i < smaller(rows + 64, positives); ++i) {
             const float row = score[i], weight = pull[i];
             const float *x = logits.data() + first;
             LX_SIMD for (int64_t j = 0; j < size; ++j) part[j] += ramp(x[j], row, delta) * weight;
           }
           LX_SIMD for (int64_t j = 0; j < size; ++j) update[j] += part[j];
         }
         for (int64_t j = 0; j < size; ++j) {
           const int64_t kind = target[first + j];
           const float own = kind == 1 ? -share[slot[first + j]] : 0.0f;
           grad.write(first + j, kind == 0 ? update[j] : own);
         }
       });
}

constexpr int MAX_BINS = 512;

// Losses, slopes and bins of a stretch of elements, a tile at a time.
template <bool CLASSES>
struct Harmonics {
  float loss[TILE], slope[TILE];
  int bin[TILE];
  void fill(const float *a, const float *b, const float *weight, int64_t size, float mu,
            const float *edges, int bins) {
    float height[TILE];
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Harmonic here = CLASSES ? classified(a[i], b[i]) : regressed(a[i], b[i], mu);
      loss[i] = here.loss, slope[i] = here.slope;
      height[i] = weight[i] > 0 ? here.height : -from_bits(0x7f800000u);
      bin[i] = -1;
    }
    for (int k = 0; k < bins; ++k) {
      const float edge = edges[k];
      LX_SIMD for (int64_t i = 0; i < size; ++i) bin[i] += height[i] >= edge ? 1 : 0;
    }
  }
};

template <bool CLASSES>
void ghm_loss(const Call &call) {
  const Floats a(call.inputs[0]), b(call.inputs[1]), weight(call.inputs[2]);
  const float *running = static_cast<const float *>(call.inputs[3].data);
  float *new_count = static_cast<float *>(call.outputs[1].data);
  const int bins = static_cast<int>(call.inputs[3].shape[0]);
  const float momentum = static_cast<float>(call.attributes[1]);
  const double mu = CLASSES ? 0.0 : call.attributes[2];
  const int64_t count = a.size(), tiles = (count + TILE - 1) / TILE;
  float edges[MAX_BINS];
  for (int i = 0; i < bins; ++i) {
    // The size of the gradient reaches i / bins where the logit, or the difference, reaches this.
    const double position = static_cast<double>(i) * i, all = static_cast<double>(bins) * bins;
    edges[i] = CLASSES ? (i ? rounded_up(logit_of(i, bins)) : -LARGEST)
                       : rounded_up(mu * i / __builtin_sqrt(all - position));
  }
  // Each task counts a stretch. Merged in order, they give one result for any number of threads.
  constexpr int64_t TASKS = 64;
  Buffer<double> sums(TASKS * bins), spoilt(TASKS);
  Buffer<int64_t> counts(TASKS * bins);
  const int64_t stretch = (tiles + TASKS - 1) / TASKS;
  each(TASKS, 40.0 * count, call.threads, [&](int64_t task) {
    Harmonics<CLASSES> tile;
    double *sum = sums.data() + task * bins, poison = 0;
    int64_t *seen = counts.data() + task * bins;
    for (int i = 0; i < bins; ++i) sum[i] = 0, seen[i] = 0;
    for (int64_t t = task * stretch; t < smaller((task + 1) * stretch, tiles); ++t) {
      const int64_t first = t * TILE, size = smaller(TILE, count - first);
      tile.fill(a.data() + first, b.data() + first, weight.data() + first, size,
                static_cast<float>(mu), edges, bins);
      for (int64_t i = 0; i < size; ++i) {
        poison += tile.loss[i] * 0.0f + weight[first + i] * 0.0f;
        if (tile.bin[i] >= 0) sum[tile.bin[i]] += tile.loss[i], ++seen[tile.bin[i]];
      }
    }
    spoilt[task] = poison;
  });
  float filled = 0, bin_weight[MAX_BINS];
  int64_t total[MAX_BINS];
  double loss = 0;
  for (int i = 0; i < bins; ++i) {
    total[i] = 0;
    for (int64_t task = 0; task < TASKS; ++task) total[i] += counts[task * bins + i];
    filled += total[i] > 0 ? 1.0f : 0.0f;
  }
  for (int i = 0; i < bins; ++i) {
    const float all = static_cast<float>(total[i]), before = running[i] + running[i] * 0.0f;
    const float density = density_of(all, before, momentum);
    bin_weight[i] = weight_of(all, density, filled);
    new_count[i] = momentum > 0 ? density : before;
    double sum = 0;
    for (int64_t task = 0; task < TASKS; ++task) sum += sums[task * bins + i];
    loss += sum * bin_weight[i];
  }
  for (int64_t task = 0; task < TASKS; ++task) loss += spoilt[task];
  Sink(call.outputs[0]).write(0, static_cast<float>(loss));
  if (call.output_count < 3) return;
  const Sink grad(call.outputs[2]);
  each(tiles, 40.0 * count, call.threads, [&](int64_t t) {
    Harmonics<CLASSES> tile;
    float scratch[TILE];
    const int64_t first = t * TILE, size = smaller(TILE, count - first);
    tile.fill(a.data() + first, b.data() + first, weight.data() + first, size,
              static_cast<float>(mu), edges, bins);
    float *row = grad.place(first, scratch);
    for (int64_t i = 0; i < size; ++i) {
      const float share = tile.bin[i] < 0 ? 0.0f : bin_weight[tile.bin[i]];
      row[i] = (share + weight[first + i] * 0.0f) * tile.slope[i];
    }
    grad.flush(first, size, scratch);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport
