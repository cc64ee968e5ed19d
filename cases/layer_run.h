#ifndef GDN_CASES_LAYER_RUN_H_
#define GDN_CASES_LAYER_RUN_H_

#include <optional>
#include <string_view>
#include <variant>

#include "cases/judge.h"
#include "cases/layer_call.h"

namespace gdn::testing {

/// The operations around the delta rule.
enum class LayerOperation { conv_fwd, conv_update, gating, l2norm, rms_norm };

constexpr LayerOperation kLayerOperations[] = {LayerOperation::conv_fwd,
                                               LayerOperation::conv_update, LayerOperation::gating,
                                               LayerOperation::l2norm, LayerOperation::rms_norm};

/// The operation's name.
const char *name_of(LayerOperation operation);
/// The operation of that name.
std::optional<LayerOperation> layer_operation(std::string_view name);

/// What an operation's one or two results are called; "" where there is no second.
struct ResultNames {
  const char *first;
  const char *second;
};
ResultNames results_of(LayerOperation operation);

using LayerCall = std::variant<ConvCall, GatingCall, NormCall>;

/// True if the operation knows everything that the case asks for (of conv_update: and the case is
/// one of decode or verify steps).
bool for_layer(LayerOperation operation, const Case &c);

/// A call around the operands of a case, as a layer would make it: q | k | v go through the
/// convolution, g and beta are the gates' logits, k is normalised, v goes through the gated norm.
/// States of the convolution are as many as the case's and named as its are. What the case does not
/// have is drawn. Of cases that are not of the ladder the name says how wide the convolution is,
/// and whether it has a bias.
LayerCall make_layer_call(LayerOperation operation, const Case &c, Element type, uint64_t seed = 0);

/// Runs such a call and holds it against the float64 reference: results (Verdict::o and ::state,
/// the latter of a pool bit by bit), guards, and that no input was written. The reference of the
/// latest case is kept, so run all code paths of one before the next. Not for several threads.
Verdict run_layer(LayerOperation operation, const Case &c, Element type, const Target &target,
                  uint64_t seed = 0);

}  // namespace gdn::testing

#endif  // GDN_CASES_LAYER_RUN_H_
