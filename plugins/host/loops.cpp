// The loops of every op.
#include "loops_boxes.h"
#include "loops_losses.h"
#include "loops_picks.h"

namespace lossexport {
namespace LX_LEVEL {

const Function LOOPS[OP_COUNT] = {
    aligned<IOU>,   aligned<GIOU>,  aligned<DIOU>,   aligned<CIOU>, pairwise<IOU>,  pairwise<GIOU>,
    pairwise<DIOU>, pairwise<CIOU>, best_match,      confidence,    nms<IOU>,       nms<DIOU>,
    cluster_nms,    soft_nms,       variance_voting, ap_loss,       ghm_loss<true>, ghm_loss<false>,
};

}  // namespace LX_LEVEL
}  // namespace lossexport
