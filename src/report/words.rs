//! Numbers as people read them.

/// A count, to three digits: `8.67 M`.
pub fn count(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{} G", digits(n / 1e9)),
        n if n >= 1e6 => format!("{} M", digits(n / 1e6)),
        n if n >= 1e4 => format!("{} k", digits(n / 1e3)),
        n => format!("{n:.0}"),
    }
}

/// A number to three digits.
pub fn digits(n: f64) -> String {
    match n.abs() {
        a if a >= 100.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 1.0 || a == 0.0 => format!("{n:.2}"),
        _ => format!("{n:.3}"),
    }
}

/// A share of accuracy as COCO prints it times a hundred: `42.4`.
pub fn points(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A difference of accuracies with its sign, in points.
pub fn difference(points: f64) -> String {
    let rounded = (points * 1000.0).round() / 10.0;
    let sign = if rounded < 0.0 { "−" } else { "+" };
    if rounded == 0.0 { "±0.0".to_owned() } else { format!("{sign}{:.1}", rounded.abs()) }
}

/// How long something took.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A moment, seconds from the start of 1970, as ISO 8601 writes it in UTC (days to a date by Hinnant's
/// `civil_from_days`).
pub fn moment(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_signs() {
        assert_eq!([8_674_496.0, 23_456.0, 950.0].map(count), ["8.67 M", "23.5 k", "950"]);
        assert_eq!([0.0234, -0.0234, 0.00001].map(difference), ["+2.3", "−2.3", "±0.0"]);
        assert_eq!([12.3, 75.0, 7500.0].map(duration), ["12 s", "1 min 15 s", "2 h 05 min"]);
    }

    #[test]
    fn moments_are_dates_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_798_761_599), "2026-12-31 23:59 UTC");
    }
}
