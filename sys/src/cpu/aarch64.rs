//! What this processor has, by the names that Cranelift gives its settings.

/// Whether this processor has the feature. Of an unknown name: no.
pub fn has_cpu_feature(name: &str) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match name {
        "has_lse" => has!("lse"),
        "has_pauth" => has!("paca"),
        "has_fp16" => has!("fp16"),
        "has_dotprod" => has!("dotprod"),
        "has_i8mm" => has!("i8mm"),
        _ => false,
    }
}
