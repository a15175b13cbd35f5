//! Doors for the fuzz targets in `fuzz/`: what reads text from outside and is private otherwise. Not in a normal build.

use crate::call::{Query, segments};
use crate::filters::{Filters, glob};
use std::collections::BTreeMap;

/// Reads `text` as what follows the `?` of a path, and as a path.
pub fn query(text: &str) {
    let _ = segments(text);
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    // As it is, and whole as the parameter `filters`.
    for query in [text.to_owned(), format!("filters={encoded}")] {
        let Ok(uri) = format!("/x?{query}").parse() else { continue };
        let Ok(query) = Query::parse(&uri) else { continue };
        let _ = (query.flag("all"), query.version(), query.all("t"));
        let Ok(filters) = Filters::read(&query, &["label", "name", "id", "dangling", "desired-state"]) else {
            continue;
        };
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let _ =
            (filters.labels("label", &labels), filters.flag("dangling"), filters.words("desired-state", &["running"]));
        let _ = filters.any("name", |pattern| glob(pattern, "web.1.x") || glob("w*b?[a-z]", pattern));
    }
}
