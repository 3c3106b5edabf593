//! The few statistics that races need.

/// The smallest value, or NaN when there is none.
pub fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// The middle value (the mean of the two middle ones), or NaN when there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// How far the median lies above the minimum, as a part of the minimum: 0.02 is 2 %. What noise
/// there was; 0 for a single run, which tells nothing.
pub fn spread(values: &[f64]) -> f64 {
    let least = minimum(values);
    if least > 0.0 {
        median(values) / least - 1.0
    } else {
        0.0
    }
}

/// The geometric mean of positive ratios, or NaN when there is none.
pub fn geometric_mean(values: &[f64]) -> f64 {
    let logs: f64 = values.iter().map(|v| v.ln()).sum();
    (logs / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_values() {
        assert_eq!(minimum(&[3.0, 1.0, 2.0]), 1.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
        assert!((spread(&[1.0, 1.1, 1.3]) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn of_no_values() {
        assert!(minimum(&[]).is_nan() && median(&[]).is_nan() && geometric_mean(&[]).is_nan());
        assert_eq!(spread(&[]), 0.0);
    }
}
