// The loops of every op. Compiled once for every level of the processor, LX_LEVEL, whose
// instructions the compiler may use here and nowhere else.
#include "loops.h"

#include "lanes.h"

#include "../kernels/boxes.cuh"
#include "../kernels/harmonise.cuh"
#include "../kernels/ranking.cuh"
#include "../kernels/suppression.cuh"

#ifndef LX_LEVEL
#define LX_LEVEL base
#endif

namespace lossexport {
namespace LX_LEVEL {
namespace {

#include "loops_tensors.h"

#include "loops_boxes.h"
#include "loops_losses.h"
#include "loops_picks.h"

}  // namespace

const Function LOOPS[OP_COUNT] = {
    aligned<IOU>,   aligned<GIOU>,  aligned<DIOU>,   aligned<CIOU>, pairwise<IOU>,  pairwise<GIOU>,
    pairwise<DIOU>, pairwise<CIOU>, best_match,      confidence,    nms<IOU>,       nms<DIOU>,
    cluster_nms,    soft_nms,       variance_voting, ap_loss,       ghm_loss<true>, ghm_loss<false>,
};

}  // namespace LX_LEVEL
}  // namespace lossexport
