//! Numbers on the command line that have a range: one outside is an error of usage, said before anything is read.

use std::str::FromStr;

/// From 0 to 1.
pub fn share<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    text.parse().ok().filter(|v| *v >= T::from(0) && *v <= T::from(1)).ok_or_else(|| "give 0 to 1".to_owned())
}

/// From 0 to less than 1: of a net something stays.
pub fn part(text: &str) -> Result<f64, String> {
    let wrong = "give a share from 0 to less than 1, such as 0.7";
    text.parse().ok().filter(|v| (0.0..1.0).contains(v)).ok_or_else(|| wrong.to_owned())
}

/// Above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| *v > 0.0 && v.is_finite()).ok_or_else(|| "give a number above 0".to_owned())
}

/// Whole, 1 or more.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|v| *v > 0).ok_or_else(|| "give a whole number, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_their_range_does() {
        assert_eq!(
            ["0", "1", "1.01", "-0.1", "NaN", "x"].map(|t| share::<f32>(t).is_ok()),
            [true, true, false, false, false, false]
        );
        assert_eq!(
            ["0", "0.99", "1", "70", "NaN", ""].map(|t| part(t).is_ok()),
            [true, true, false, false, false, false]
        );
        assert_eq!(
            ["0.1", "1e9", "0", "-1", "inf", "NaN"].map(|t| positive(t).is_ok()),
            [true, true, false, false, false, false]
        );
        assert_eq!(["1", "900", "0", "-1", "1.5"].map(|t| count(t).is_ok()), [true, true, false, false, false]);
    }
}
