//! The template language: no template panics, runs without end, or writes more than it may.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use swarm_core::template::{Limits, Mode, Template, Uses, task};

const LIMITS: Limits = Limits { output_bytes: 64 * 1024, work_bytes: 1024 * 1024 };

fuzz_target!(|text: &str| {
    let value = json!({
        "Name": "web", "ID": "x1", "Labels": { "a": "b" }, "List": [1, "two", null, [3.5], {}], "Task": { "Slot": 7 },
        "Node": { "Hostname": "host1" }, "Service": { "Name": "web", "Labels": {} }, "Yes": true, "Big": i64::MAX
    });
    for uses in [Uses::Fields, Uses::Contents] {
        let Ok(template) = Template::parse(text, uses) else { continue };
        let _ = template.check(&|_| Ok(()));
        for mode in [Mode::Row, Mode::Object, Mode::Headers, Mode::Strict] {
            if let Ok(out) = template.render(&value, mode, LIMITS) {
                assert!(out.len() <= LIMITS.output_bytes, "{} bytes", out.len());
            }
        }
        let _ = template.fill(&value, LIMITS, &|_, name| Ok(name.to_owned()));
    }
    let _ = task::check_content(text.as_bytes(), None);
});
