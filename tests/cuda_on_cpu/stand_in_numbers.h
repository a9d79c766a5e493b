// The 16-bit floats and tf32 of the stand-in, rounded to nearest, ties to even.
#pragma once
#include <algorithm>

#include "stand_in.h"

namespace stand_in {
float float_of_half(unsigned short bits) {
    const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? nanf("") : sign * HUGE_VALF;
    if (exponent == 0) return sign * ldexpf(static_cast<float>(fraction), -24);
    return sign * ldexpf(static_cast<float>(fraction + 1024), static_cast<int>(exponent) - 25);
}
unsigned short half_of_float(float value) {
    const unsigned sign = __float_as_uint(value) >> 16 & 0x8000;
    const float size = fabsf(value);
    if (value != value) return 0x7fff;
    if (size == 0) return static_cast<unsigned short>(sign);
    if (size >= 65520) return static_cast<unsigned short>(sign | 0x7c00);
    int exponent;
    frexpf(size, &exponent);  // size is a fraction in [1/2, 1) times 2^exponent
    const int unit = std::max(exponent - 11, -24);
    const float scaled = ldexpf(size, -unit), rounded = nearbyintf(scaled);
    const int units = static_cast<int>(rounded);  // of 2^unit, up to 2048
    const int biased = unit == -24 && units < 1024 ? 0 : unit + 25;
    return static_cast<unsigned short>(sign | ((biased << 10) + (biased ? units - 1024 : units)));
}
unsigned short bfloat16_of_float(float value) {
    const unsigned bits = __float_as_uint(value);
    if (value != value) return 0x7fff;
    return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
unsigned tf32_of_float(float value) {
    const unsigned bits = __float_as_uint(value);
    if (!isfinite(value)) return value != value ? 0x7fffffff : bits;
    return (bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000u;
}
}  // namespace stand_in
