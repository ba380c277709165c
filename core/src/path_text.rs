//! Paths in documents: as text, bytes that are not UTF-8 replaced. By itself serde refuses such a path, and with it the
//! whole document that it stands in.

use std::path::Path;

use serde::Serializer;

/// One path, for `serialize_with`.
///
/// # Errors
/// Those of the serialiser.
pub fn one<S: Serializer>(path: &impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.as_ref().to_string_lossy())
}

/// One or none.
///
/// # Errors
/// Those of the serialiser.
pub fn option<S: Serializer>(path: &Option<impl AsRef<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_some(&path.as_ref().to_string_lossy()),
        None => serializer.serialize_none(),
    }
}

/// A list.
///
/// # Errors
/// Those of the serialiser.
pub fn list<S: Serializer>(paths: &[impl AsRef<Path>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.as_ref().to_string_lossy()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    #[derive(serde::Serialize)]
    struct Document<'a> {
        #[serde(serialize_with = "super::one")]
        cfg: &'a std::path::Path,
        #[serde(serialize_with = "super::option")]
        weights: Option<PathBuf>,
        #[serde(serialize_with = "super::option")]
        plan: Option<PathBuf>,
        #[serde(serialize_with = "super::list")]
        files: Vec<PathBuf>,
    }

    #[test]
    fn a_name_that_is_not_utf8_does_not_cost_the_document() {
        let strange = PathBuf::from(std::ffi::OsStr::from_bytes(b"b\xe9.jpg"));
        let document = Document {
            cfg: &strange,
            weights: Some(strange.clone()),
            plan: None,
            files: vec!["a".into(), strange.clone()],
        };
        let text = serde_json::to_string(&document).unwrap();
        let shown = "b\u{fffd}.jpg";
        let expected = format!(r#"{{"cfg":"{shown}","weights":"{shown}","plan":null,"files":["a","{shown}"]}}"#);
        assert_eq!(text, expected);
    }
}
