//! Numbers as programs write them into JSON: whole ones as `100.0`, flags as `true` or 1.

use std::fmt::Formatter;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// A whole number, `100` or `100.0`.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<T, D::Error> {
    let number = deserializer.deserialize_any(Whole { or_flag: false })?;
    T::try_from(number).map_err(|_| D::Error::custom(format!("invalid value: {number} is no whole number here")))
}

/// A flag: `true`, `false`, or a whole number that is 0 where it is not set.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(deserializer.deserialize_any(Whole { or_flag: true })? != 0)
}

struct Whole {
    /// Whether true and false are 1 and 0.
    or_flag: bool,
}

impl Visitor<'_> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
        f.write_str(if self.or_flag { "a boolean or a whole number" } else { "a whole number" })
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<i64, E> {
        if self.or_flag {
            return Ok(flag.into());
        }
        Err(E::invalid_type(serde::de::Unexpected::Bool(flag), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
        // Up to 2^53 a float holds each whole number.
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            return Ok(number as i64);
        }
        Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }
}
