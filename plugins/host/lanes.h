// Vectors of floats as the number type of the arithmetic on boxes. Include this before boxes.cuh,
// whose templates use it.
#pragma once

#if defined(__SSE__)
#include <immintrin.h>
#endif

#include "../kernels/portable.cuh"

namespace lossexport {
namespace {

// The functions of portable.cuh, bit for bit, and stream(), which stores past the caches to an
// aligned place, so that memory is not read before it is written.
#if defined(__AVX512F__)
using Lanes = __m512;
#define LX_LANES(name) _mm512_##name
#elif defined(__AVX2__)
using Lanes = __m256;
#define LX_LANES(name) _mm256_##name
#endif
#if defined(LX_LANES)
LX_INLINE Lanes all(float x) { return LX_LANES(set1_ps)(x); }
LX_INLINE Lanes at_least(Lanes a, Lanes b) { return LX_LANES(max_ps)(b, a); }
LX_INLINE Lanes at_most(Lanes a, Lanes b) { return LX_LANES(min_ps)(b, a); }
LX_INLINE Lanes plus(Lanes a, Lanes b, float scale = 1.0f) {
  return LX_LANES(fmadd_ps)(b, all(scale), a);
}
LX_INLINE void stream(float *to, Lanes x) { LX_LANES(stream_ps)(to, x); }
// Whether a number of `a` is at least the one of `b` in its place.
LX_INLINE bool any_reaches(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
#else
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
#endif
}
#else
typedef float Lanes __attribute__((vector_size(16)));
LX_INLINE Lanes all(float x) { return Lanes{} + x; }
LX_INLINE Lanes at_least(Lanes a, Lanes b) { return a < b ? b : a; }
LX_INLINE Lanes at_most(Lanes a, Lanes b) { return a > b ? b : a; }
LX_INLINE Lanes plus(Lanes a, Lanes b, float scale = 1.0f) { return a + b * scale; }
LX_INLINE bool any_reaches(Lanes a, Lanes b) {
  const auto reaches = a >= b;
  return reaches[0] | reaches[1] | reaches[2] | reaches[3];
}
LX_INLINE void stream(float *to, Lanes x) {
#if defined(__SSE__)
  _mm_stream_ps(to, x);
#else
  __builtin_memcpy(to, &x, sizeof x);
#endif
}
#endif

// Call this before another thread reads what was streamed.
LX_INLINE void settle() {
#if defined(__SSE__)
  _mm_sfence();
#endif
}

LX_INLINE Lanes not_zero(Lanes x) { return x == 0 ? all(1.0f) : x; }
LX_INLINE Lanes at_least(Lanes a, float b) { return at_least(a, all(b)); }
LX_INLINE Lanes load(const float *from) {
  Lanes x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
LX_INLINE void store(float *to, Lanes x) { __builtin_memcpy(to, &x, sizeof x); }

constexpr int64_t LANES = sizeof(Lanes) / sizeof(float);

}  // namespace
}  // namespace lossexport
