//! Tests of `log.rs`.

use super::*;

#[test]
fn json_fields_are_flat_and_text_has_no_colour_by_default() {
    for (format, is_terminal, is_json) in [
        (LogFormat::Auto, false, true),
        (LogFormat::Auto, true, false),
        (LogFormat::Text, false, false),
        (LogFormat::Json, true, true),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let state = Arc::new(WriterState::default());
        let out = LineWriter::new(Some(file.reopen().unwrap()), MAX_WAIT, state.clone());
        let queue = LogQueue::new(out, state, LineLimit::default());
        let subscriber = tracing_subscriber::registry().with(layer(format, is_terminal, false, queue.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(listener = "main", peer = "a\n\u{1b}[31mb", messages = 3, "connection closed");
        });
        queue.close();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let json = serde_json::from_str::<serde_json::Value>(&text);
        assert_eq!(json.is_ok(), is_json, "{text}");
        if let Ok(json) = json {
            let keys = ["timestamp", "level", "message", "listener", "messages"];
            assert!(keys.iter().all(|key| json.get(key).is_some()), "{text}");
            assert_eq!((&json["message"], &json["level"]), (&"connection closed".into(), &"INFO".into()));
        }
    }
}
