//! What this processor has, by the names that Cranelift gives its settings.

/// Whether this processor has the feature. Of an unknown name: no.
pub fn has_cpu_feature(name: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match name {
        "has_sse3" => has!("sse3"),
        "has_ssse3" => has!("ssse3"),
        "has_cmpxchg16b" => has!("cmpxchg16b"),
        "has_sse41" => has!("sse4.1"),
        "has_sse42" => has!("sse4.2"),
        "has_popcnt" => has!("popcnt"),
        "has_avx" => has!("avx"),
        "has_avx2" => has!("avx2"),
        "has_fma" => has!("fma"),
        "has_bmi1" => has!("bmi1"),
        "has_bmi2" => has!("bmi2"),
        "has_lzcnt" => has!("lzcnt"),
        "has_avx512bitalg" => has!("avx512bitalg"),
        "has_avx512dq" => has!("avx512dq"),
        "has_avx512f" => has!("avx512f"),
        "has_avx512vbmi" => has!("avx512vbmi"),
        "has_avx512vl" => has!("avx512vl"),
        "has_avx512vnni" => has!("avx512vnni"),
        "has_avx_vnni" => has!("avxvnni"),
        _ => false,
    }
}
