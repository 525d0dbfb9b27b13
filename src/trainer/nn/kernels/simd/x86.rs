//! Blocks in AVX-512 and AVX2 registers.
//!
//! It must not know who calls it: holding a token is the whole contract.

use super::{Block, LANES, Simd, arch, sealed};
use arch::{__m256, __m512};

/// Proof of AVX-512F, AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx512(pub(super) ());

/// Proof of AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(pub(super) ());

impl sealed::Sealed for Avx512 {}
impl sealed::Sealed for Avx2 {}

impl Simd for Avx512 {
    type V = __m512;
    const ROWS: usize = 16;
    const DOUBLE_ROWS: usize = 12;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &Block) -> __m512 {
        // SAFETY: the token proves AVX-512F, and a block is 64 readable bytes; the load needs no alignment.
        unsafe { arch::_mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut Block) {
        // SAFETY: the token proves AVX-512F, and a block is 64 writable bytes; the store needs no alignment.
        unsafe { arch::_mm512_storeu_ps(out.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F. The instruction yields its second operand when either is NaN.
        unsafe { arch::_mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn where_greater(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_mask_blend_ps(arch::_mm512_cmp_ps_mask::<{ arch::_CMP_GT_OQ }>(a, b), no, yes) }
    }
    #[inline(always)]
    fn where_equal(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { arch::_mm512_mask_blend_ps(arch::_mm512_cmp_ps_mask::<{ arch::_CMP_EQ_OQ }>(a, b), no, yes) }
    }
    #[inline(always)]
    fn transpose(self, rows: [__m512; LANES]) -> [__m512; LANES] {
        let mut r = rows;
        for i in (0..LANES).step_by(4) {
            let (a, b, c, d) = (r[i], r[i + 1], r[i + 2], r[i + 3]);
            // SAFETY: the token proves AVX-512F; these instructions only move lanes in registers.
            unsafe {
                let (ab, ab_high) = (arch::_mm512_unpacklo_ps(a, b), arch::_mm512_unpackhi_ps(a, b));
                let (cd, cd_high) = (arch::_mm512_unpacklo_ps(c, d), arch::_mm512_unpackhi_ps(c, d));
                r[i] = arch::_mm512_shuffle_ps::<0x44>(ab, cd);
                r[i + 1] = arch::_mm512_shuffle_ps::<0xEE>(ab, cd);
                r[i + 2] = arch::_mm512_shuffle_ps::<0x44>(ab_high, cd_high);
                r[i + 3] = arch::_mm512_shuffle_ps::<0xEE>(ab_high, cd_high);
            }
        }
        // Quarter q of r[4 i + c] now holds column 4 q + c of rows 4 i to 4 i + 3: what is left is a 4 x 4 transposition
        // of quarters for each c.
        let mut out = r;
        for c in 0..4 {
            // SAFETY: the token proves AVX-512F; these instructions only move lanes in registers.
            unsafe {
                let even = arch::_mm512_shuffle_f32x4::<0x88>(r[c], r[4 + c]);
                let odd = arch::_mm512_shuffle_f32x4::<0xDD>(r[c], r[4 + c]);
                let even_high = arch::_mm512_shuffle_f32x4::<0x88>(r[8 + c], r[12 + c]);
                let odd_high = arch::_mm512_shuffle_f32x4::<0xDD>(r[8 + c], r[12 + c]);
                out[c] = arch::_mm512_shuffle_f32x4::<0x88>(even, even_high);
                out[4 + c] = arch::_mm512_shuffle_f32x4::<0x88>(odd, odd_high);
                out[8 + c] = arch::_mm512_shuffle_f32x4::<0xDD>(even, even_high);
                out[12 + c] = arch::_mm512_shuffle_f32x4::<0xDD>(odd, odd_high);
            }
        }
        out
    }
}

impl Simd for Avx2 {
    type V = [__m256; 2];
    const ROWS: usize = 6;
    const DOUBLE_ROWS: usize = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        [unsafe { arch::_mm256_set1_ps(x) }; 2]
    }
    #[inline(always)]
    fn load(self, x: &Block) -> [__m256; 2] {
        // SAFETY: the token proves AVX2, and a block is two times 32 readable bytes; the loads need no alignment.
        unsafe { [arch::_mm256_loadu_ps(x.as_ptr()), arch::_mm256_loadu_ps(x.as_ptr().add(8))] }
    }
    #[inline(always)]
    fn store(self, v: [__m256; 2], out: &mut Block) {
        // SAFETY: the token proves AVX2, and a block is two times 32 writable bytes; the stores need no alignment.
        unsafe {
            arch::_mm256_storeu_ps(out.as_mut_ptr(), v[0]);
            arch::_mm256_storeu_ps(out.as_mut_ptr().add(8), v[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [arch::_mm256_add_ps(a[0], b[0]), arch::_mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [arch::_mm256_sub_ps(a[0], b[0]), arch::_mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [arch::_mm256_mul_ps(a[0], b[0]), arch::_mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [arch::_mm256_div_ps(a[0], b[0]), arch::_mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sqrt(self, a: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe { [arch::_mm256_sqrt_ps(a[0]), arch::_mm256_sqrt_ps(a[1])] }
    }
    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves FMA.
        unsafe { [arch::_mm256_fmadd_ps(a[0], b[0], c[0]), arch::_mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2. The instruction yields its second operand when either is NaN.
        unsafe { [arch::_mm256_max_ps(a[0], b[0]), arch::_mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn where_greater(self, a: [__m256; 2], b: [__m256; 2], yes: [__m256; 2], no: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            [
                arch::_mm256_blendv_ps(no[0], yes[0], arch::_mm256_cmp_ps::<{ arch::_CMP_GT_OQ }>(a[0], b[0])),
                arch::_mm256_blendv_ps(no[1], yes[1], arch::_mm256_cmp_ps::<{ arch::_CMP_GT_OQ }>(a[1], b[1])),
            ]
        }
    }
    #[inline(always)]
    fn where_equal(self, a: [__m256; 2], b: [__m256; 2], yes: [__m256; 2], no: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            [
                arch::_mm256_blendv_ps(no[0], yes[0], arch::_mm256_cmp_ps::<{ arch::_CMP_EQ_OQ }>(a[0], b[0])),
                arch::_mm256_blendv_ps(no[1], yes[1], arch::_mm256_cmp_ps::<{ arch::_CMP_EQ_OQ }>(a[1], b[1])),
            ]
        }
    }
    #[inline(always)]
    fn transpose(self, rows: [[__m256; 2]; LANES]) -> [[__m256; 2]; LANES] {
        let mut out = rows;
        for half in 0..2 {
            let (mut upper, mut lower) = ([rows[0][half]; 8], [rows[0][half]; 8]);
            for i in 0..8 {
                (upper[i], lower[i]) = (rows[i][half], rows[8 + i][half]);
            }
            let (upper, lower) = (self.transpose_eighth(upper), self.transpose_eighth(lower));
            for i in 0..8 {
                out[8 * half + i] = [upper[i], lower[i]];
            }
        }
        out
    }
}

impl Avx2 {
    /// Transposes 8 x 8 numbers.
    #[inline(always)]
    fn transpose_eighth(self, rows: [__m256; 8]) -> [__m256; 8] {
        let mut r = rows;
        for i in [0, 4] {
            let (a, b, c, d) = (r[i], r[i + 1], r[i + 2], r[i + 3]);
            // SAFETY: the token proves AVX2; these instructions only move lanes in registers.
            unsafe {
                let (ab, ab_high) = (arch::_mm256_unpacklo_ps(a, b), arch::_mm256_unpackhi_ps(a, b));
                let (cd, cd_high) = (arch::_mm256_unpacklo_ps(c, d), arch::_mm256_unpackhi_ps(c, d));
                r[i] = arch::_mm256_shuffle_ps::<0x44>(ab, cd);
                r[i + 1] = arch::_mm256_shuffle_ps::<0xEE>(ab, cd);
                r[i + 2] = arch::_mm256_shuffle_ps::<0x44>(ab_high, cd_high);
                r[i + 3] = arch::_mm256_shuffle_ps::<0xEE>(ab_high, cd_high);
            }
        }
        let mut out = r;
        for c in 0..4 {
            // SAFETY: the token proves AVX2; these instructions only move lanes in registers.
            unsafe {
                out[c] = arch::_mm256_permute2f128_ps::<0x20>(r[c], r[4 + c]);
                out[4 + c] = arch::_mm256_permute2f128_ps::<0x31>(r[c], r[4 + c]);
            }
        }
        out
    }
}
