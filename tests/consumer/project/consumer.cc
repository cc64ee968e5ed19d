// A program of a user: a prefill, then a decode step from its state, in C++.
#include <gdn/gdn.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  const int64_t T = 100, H = 2, D = 16;
  std::vector<float> q(static_cast<size_t>((T + 1) * H * D)), v(q.size()), o(q.size()),
      all(q.size());
  std::vector<float> g(static_cast<size_t>((T + 1) * H), -0.1F), beta(g.size(), 0.5F);
  std::vector<float> state(static_cast<size_t>(H * D * D)), last(state.size());
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] = std::sin(static_cast<float>(i)) / 4;
    v[i] = std::cos(static_cast<float>(3 * i));
  }
  try {
    gdn::chunk_gated_delta_rule({.q = {q.data(), {1, T + 1, H, D}},
                                 .k = {q.data(), {1, T + 1, H, D}},
                                 .v = {v.data(), {1, T + 1, H, D}},
                                 .g = {g.data(), {1, T + 1, H}},
                                 .beta = {beta.data(), {1, T + 1, H}},
                                 .final_state = {last.data(), {1, H, D, D}},
                                 .o = {all.data(), {1, T + 1, H, D}}});
    gdn::Workspace workspace;
    gdn::chunk_gated_delta_rule({.q = {q.data(), {1, T, H, D}},
                                 .k = {q.data(), {1, T, H, D}},
                                 .v = {v.data(), {1, T, H, D}},
                                 .g = {g.data(), {1, T, H}},
                                 .beta = {beta.data(), {1, T, H}},
                                 .final_state = {state.data(), {1, H, D, D}},
                                 .o = {o.data(), {1, T, H, D}}},
                                {.threads = 2, .workspace = &workspace});
    const size_t next = static_cast<size_t>(T * H * D);
    gdn::fused_recurrent_gated_delta_rule({.q = {q.data() + next, {1, 1, H, D}},
                                           .k = {q.data() + next, {1, 1, H, D}},
                                           .v = {v.data() + next, {1, 1, H, D}},
                                           .g = {g.data(), {1, 1, H}},
                                           .beta = {beta.data(), {1, 1, H}},
                                           .initial_state = {state.data(), {1, H, D, D}},
                                           .final_state = {state.data(), {1, H, D, D}},
                                           .o = {o.data() + next, {1, 1, H, D}}});
  } catch (const gdn::Error &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  for (size_t i = 0; i < o.size(); ++i) {
    if (!(std::fabs(o[i] - all[i]) < 1e-5F)) return 2;
  }
  for (size_t i = 0; i < state.size(); ++i) {
    if (!(std::fabs(state[i] - last[i]) < 1e-5F)) return 3;
  }
  std::printf("libgdn %s from C++: right\n", gdn_version());
  return 0;
}
