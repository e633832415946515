// What CUDA C++ and host C++ have in common, and the few functions that each would round in its own
// way. Compiled without contraction of a * b + c everywhere (nvcc --fmad=false, -ffp-contract=off),
// the same source gives the same bits on a GPU and on every CPU.
//
// Kernels are guarded by LX_DEVICE. nvcc and NVRTC define it here; a program that emulates a GPU
// defines it, LX_KERNEL, LX_BOUNDS, LX_SHARED and LX_SYNC before it includes a kernel.
#pragma once

#if defined(__CUDACC__)
#define LX_DEVICE 1
#define LX_INLINE __host__ __device__ __forceinline__
#define LX_KERNEL extern "C" __global__
#define LX_SHARED __shared__
#define LX_BOUNDS(threads) __launch_bounds__(threads)
#define LX_SYNC() __syncthreads()
#else
#define LX_INLINE inline __attribute__((always_inline))
#endif

namespace lossexport {

#ifdef LX_DEVICE
// Whether a kernel writes the gradient too.
#ifdef LX_GRADIENT
constexpr bool GRADIENT = true;
#else
constexpr bool GRADIENT = false;
#endif
#endif

// Smallest positive normal number, which replaces a denominator of 0.
constexpr float TINY = 1.17549435e-38f;
constexpr float LARGEST = 3.40282347e38f;

// NaN in `a` is kept, NaN in `b` is not: as clamp() of PyTorch with a constant `b`.
LX_INLINE float at_least(float a, float b) { return a < b ? b : a; }
LX_INLINE float at_most(float a, float b) { return a > b ? b : a; }

// 1 in place of 0, which a denominator must not be.
LX_INLINE float not_zero(float x) { return x == 0 ? 1.0f : x; }

// a + b * scale for a scale of 1 or another power of two: fused, it gives the same bits. Vectors of
// a CPU have a fused one (lanes.h): the metrics of boxes wait for additions and comparisons, while
// the unit that multiplies would idle.
LX_INLINE float plus(float a, float b, float scale = 1.0f) { return a + b * scale; }

LX_INLINE unsigned bits_of(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  unsigned bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

LX_INLINE float from_bits(unsigned bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

LX_INLINE float magnitude(float x) { return from_bits(bits_of(x) & 0x7fffffffu); }

LX_INLINE bool is_finite(float x) { return (bits_of(x) & 0x7f800000u) != 0x7f800000u; }

LX_INLINE float square_root(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

// exp(r) - 1 for |r| of at most log(2) / 2. Polynomial of Moshier's Cephes library, in parts that
// need not wait for each other.
LX_INLINE float exponential_less_1_near_0(float r) {
  const float s = r * r;
  const float high = (1.9875691500e-4f * r + 1.3981999507e-3f) * s;
  const float middle = 8.3334519073e-3f * r + 4.1665795894e-2f;
  const float low = 1.6666665459e-1f * r + 5.0000001201e-1f;
  return ((high + middle) * s + low) * s + r;
}

// exp(r) * 2^power for such r.
LX_INLINE float exponential_near_0(float r, int power) {
  const float p = exponential_less_1_near_0(r) + 1.0f;
  // 2^power in two factors, for the result may be subnormal or infinite.
  const int half = power >> 1;
  const float first = from_bits(static_cast<unsigned>(half + 127) << 23);
  const float second = from_bits(static_cast<unsigned>(power - half + 127) << 23);
  return p * first * second;
}

// exp(x) to 2 units in the last place; 0 below -104, infinity above 89, NaN of NaN. Range reduction of
// Moshier's Cephes library.
LX_INLINE float exponential(float x) {
  x = at_most(at_least(x, -104.0f), 89.0f);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = x * 1.44269504f + magic;
  const float whole = shifted - magic;
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  return exponential_near_0(r, static_cast<int>(bits_of(shifted) - bits_of(magic)));
}

// exp(x) - 1 to 3 units in the last place, small x included.
LX_INLINE float exponential_less_1(float x) {
  return magnitude(x) < 0.34f ? exponential_less_1_near_0(x) : exponential(x) - 1.0f;
}

// log((1 + s) / (1 - s)) = 2 atanh(s) for |s| of at most 1/3, to 2 units in the last place.
LX_INLINE float twice_artanh(float s) {
  const float z = s * s, y = z * z;
  const float high = (0.0666666667f * z + 0.0769230769f) * y + (0.0909090909f * z + 0.111111111f);
  const float p = (high * y + (0.142857143f * z + 0.2f)) * z + 0.333333333f;
  return 2.0f * (s + s * (z * p));
}

// log(1 + x) for x in [-1/2, 1].
LX_INLINE float log_one_plus(float x) { return twice_artanh(x / (2.0f + x)); }

// log(x) for positive normal x.
LX_INLINE float logarithm(float x) {
  // The significand in [sqrt(1/2), sqrt(2)).
  const unsigned bits = bits_of(x) + (0x3f800000u - 0x3f3504f3u);
  const float power = static_cast<float>(static_cast<int>(bits >> 23) - 127);
  const float m = from_bits((bits & 0x7fffffu) + 0x3f3504f3u);
  return power * 0.693359375f + (twice_artanh((m - 1.0f) / (m + 1.0f)) + power * -2.12194440e-4f);
}

// log(x) for positive normal x, precise near 1 too; `excess` is x - 1.
LX_INLINE float logarithm_of(float x, float excess) {
  return magnitude(excess) <= 0.5f ? log_one_plus(excess) : logarithm(x);
}

// x^y for x from 0 to 2 and y above 0, NaN of NaN, to 2 units in the last place. The logarithm is
// taken in double: y * log(x) may be as large as 100, and its absolute error is the relative error
// of the result.
LX_INLINE float power(float x, float y) {
  const bool subnormal = x < TINY;
  const float scaled = subnormal ? x * 16777216.0f : x;
  const unsigned bits = bits_of(scaled) + (0x3f800000u - 0x3f3504f3u);
  const int exponent = static_cast<int>(bits >> 23) - (subnormal ? 127 + 24 : 127);
  const double m = from_bits((bits & 0x7fffffu) + 0x3f3504f3u);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  const double log = static_cast<double>(exponent) * 0.69314718055994531 + 2.0 * (s + s * (z * p));
  const double wanted = y * log;  // NaN of a NaN in y, of which there is no whole part
  const double t = wanted > -104.0 ? (wanted < 89.0 ? wanted : 89.0) : -104.0;
  const double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
  const double whole = (t * 1.4426950408889634 + magic) - magic;
  const float power = exponential_near_0(static_cast<float>(t - whole * 0.69314718055994531),
                                         static_cast<int>(whole));
  return x > 0 ? (wanted == wanted ? power : static_cast<float>(wanted)) : x * 0.0f;
}

// atan(w / h) of sides, pi/2 where h is 0 and 0 where both are, to 3 units in the last place.
LX_INLINE float aspect_angle(float w, float h) {
  h = at_least(h, TINY);
  const float side = magnitude(w);
  // Of tan(pi/8) and tan(3 pi/8): between them the angle is measured from pi/4, beyond from pi/2.
  const bool steep = side > 2.414213562f * h;
  const bool middle = side > 0.4142135624f * h;
  const float numerator = steep ? -h : (middle ? side - h : side);
  const float denominator = steep ? side : (middle ? side + h : h);
  const float x = numerator / denominator;
  const float z = x * x;
  float p = 8.05374449538e-2f;
  p = p * z - 1.38776856032e-1f;
  p = p * z + 1.99777106478e-1f;
  p = p * z - 3.33329491539e-1f;
  const float angle =
      (p * z * x + x) + (steep ? 1.57079632679f : (middle ? 0.785398163397f : 0.0f));
  return w < 0 ? -angle : angle;
}

struct Direction {
  float cos, sin;
};

// The cosine and sine of an angle, each to 2 units in the last place. From 4e8 radians on, where
// floats are 32 apart, the angle is taken for 0. Constants of fdlibm, polynomials of Cephes.
LX_INLINE Direction direction(float angle) {
  const double x = magnitude(angle) < 4e8f ? angle : angle * 0.0f;
  const double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
  const double turns = (x * 0.63661977236758134308 + magic) - magic;
  const float r =
      static_cast<float>((x - turns * 1.57079631090164184570) - turns * 1.58932547735281966916e-08);
  const float z = r * r;
  const float sine =
      ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  const float cosine =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
      0.5f * z + 1.0f;
  const int quarter = turns == turns ? static_cast<int>(turns) & 3 : 0;
  const float c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
  return {(quarter + 1) & 2 ? -c : c, quarter & 2 ? -s : s};
}

// A sum one term after another, in parts of 16: of many equal terms a plain sum drifts.
struct Sum {
  float total = 0.0f, part = 0.0f;
  int count = 0;

  LX_INLINE void add(float x) {
    part += x;
    if (++count % 16) return;
    total += part;
    part = 0.0f;
  }
  LX_INLINE float value() const { return total + part; }
};

// A loss and its derivative.
struct Slope {
  float loss, slope;
};

// Narrow types at the boundary: loaded to float, computed in float, rounded once when stored.
struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

LX_INLINE float load(float x) { return x; }

LX_INLINE float load(BFloat16 x) { return from_bits(static_cast<unsigned>(x.bits) << 16); }

LX_INLINE float load(Half x) {
  const unsigned sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
  if (rest >= 0x7c00u) return from_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // As a float of the smallest exponents, brought up by 2^112: exact, subnormals included.
  return from_bits(sign | bits_of(from_bits(rest << 13) * from_bits(0x77800000u)));
}

// 0, or NaN where one of `count` numbers is not finite.
template <typename T>
LX_INLINE float poison_in(const T *numbers, int count) {
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += load(numbers[i]) * 0.0f;
  return sum;
}

LX_INLINE void store(float *to, float x) { *to = x; }

LX_INLINE void store(BFloat16 *to, float x) {
  const unsigned bits = bits_of(x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  // To nearest, ties to even.
  const unsigned rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  to->bits = static_cast<unsigned short>(nan ? (bits >> 16 | 0x40u) : rounded >> 16);
}

LX_INLINE void store(Half *to, float x) {
  const unsigned sign = bits_of(x) >> 16 & 0x8000u, rest = bits_of(x) & 0x7fffffffu;
  unsigned result;
  if (rest > 0x7f800000u) {
    result = 0x7e00u;
  } else if (rest >= 0x477ff000u) {  // 65520 and above round to infinity
    result = 0x7c00u;
  } else if (rest < 0x38800000u) {  // below the normal range: the adder rounds at 2^-24
    result = bits_of(from_bits(rest) + 0.5f) - 0x3f000000u;
  } else {
    result = (rest + 0xfffu + (rest >> 13 & 1u) - 0x38000000u) >> 13;
  }
  to->bits = static_cast<unsigned short>(sign | result);
}

}  // namespace lossexport
