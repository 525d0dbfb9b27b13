//! The exponential function, in single multiplications and additions, so that it gives the same bits on every machine and
//! instruction set.
//!
//! It must not know what it is used for.

/// e to the power of `x` for `x` up to 0, with a relative error below 1e-6; NaN stays NaN.
///
/// Below -50 the result is 0: next to the largest probability it is lost anyway, and gradients made from it would be
/// subnormal numbers, on which processors are a hundred times slower.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor polynomial of degree 7 for e^r, and 2^n by its exponent bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this number leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let negligible = x < -50.0;
    let x = if negligible { -50.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut power = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * r + coefficient;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    if negligible { 0.0 } else { power * f32::from_bits(exponent << 23) }
}

#[cfg(test)]
mod tests {
    use super::exp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn close_to_the_library(x in -50.0f32..=0.0) {
            let expected = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) - expected).abs() <= 1e-6 * expected);
        }
    }

    #[test]
    fn at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
