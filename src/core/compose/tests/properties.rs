//! No text makes the reader panic, run away, or stay silent.

use super::*;
use proptest::prelude::*;

const SHOP: &str = include_str!("testdata/shop.yml");

/// The text with its dollar signs doubled, so that it reads back as it is. Keys take no variables and have no way to
/// double one: `None` when a line may have a dollar sign in its key.
fn escaped(printed: &str) -> Option<String> {
    let in_key = |line: &str| {
        let key = line.split_once(": ").map_or(line.trim_end().strip_suffix(':'), |(key, _)| Some(key));
        key.is_some_and(|key| key.contains('$'))
    };
    (!printed.lines().any(in_key)).then(|| printed.replace('$', "$$"))
}

/// Reads `text` every way there is; an error names at least one reason.
fn read(text: &str) -> Result<(), TestCaseError> {
    let files = sources(&[text, SHOP]);
    let one = load(Some("shop"), &files[..1], &environment(), &memory());
    if let Err(errors) = &one {
        prop_assert!(!errors.is_empty());
        prop_assert!(errors.iter().all(|error| !error.to_string().contains("no reason was found")), "{errors:?}");
    }
    // What can be deployed can be printed, and what is printed can be deployed again.
    if let Ok(loaded) = one {
        let printed = config(&files[..1], &environment(), &memory());
        let printed =
            printed.map(|canonical| canonical.yaml).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        if let Some(escaped) = escaped(&printed) {
            let again = load(Some("shop"), &sources(&[&escaped]), &environment(), &memory());
            prop_assert_eq!(again.map(|again| again.stack), Ok(loaded.stack));
        }
    }
    let _ = config(&files, &environment(), &memory());
    Ok(())
}

/// A file of services that extend each other, with tags, profiles and includes in all places, also wrong ones.
fn strange() -> impl Strategy<Value = String> {
    let tag = prop_oneof![3 => Just(""), 1 => Just("!reset "), 1 => Just("!override ")];
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("x".to_owned()),
        Just("[]".to_owned()),
        Just("[a, 'B=1']".to_owned()),
        Just("{a: null, b: !reset x, c: !override {d: 1}}".to_owned()),
        name.clone().prop_map(|name| format!("{{service: {name}}}")),
        name.clone().prop_map(|name| format!("{{file: {name}.yml, service: {name}}}")),
    ];
    let key = prop_oneof![
        3 => Just("extends"), 1 => Just("profiles"), 1 => Just("environment"), 1 => Just("depends_on"),
        1 => Just("networks"), 1 => Just("ports"), 1 => Just("image"), 1 => Just("env_file"), 1 => Just("build"),
        1 => Just("ulimits"), 1 => Just("extra_hosts"), 1 => Just("x-any"), 1 => Just("bogus"),
    ];
    let line = (key, tag.clone(), value).prop_map(|(key, tag, value)| format!("    {key}: {tag}{value}\n"));
    let lines = proptest::collection::btree_map(any::<u8>(), line, 0..4);
    let service = (name, tag.clone(), lines).prop_map(|(name, tag, lines)| {
        let lines: String = lines.into_values().collect();
        (name, if lines.is_empty() { format!("{tag}null\n") } else { format!("{tag}\n{lines}") })
    });
    let services = proptest::collection::btree_map(any::<u8>(), service, 0..4);
    let include =
        proptest::collection::vec(prop_oneof![Just("a.yml"), Just("c.yml"), Just("{path: [b.yml, d.yml]}")], 0..3);
    (services, tag, include).prop_map(|(services, tag, include)| {
        let services: BTreeMap<_, _> = services.into_values().collect();
        let services: String = services.iter().map(|(name, lines)| format!("  {name}: {lines}")).collect();
        let services = if services.is_empty() { " {}\n".to_owned() } else { format!("\n{services}") };
        format!("include: {tag}[{}]\nservices: {}{services}", include.join(", "), tag)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn files_that_extend_and_include_each_other_are_read_the_same_way_each_time_or_refused(
        files in proptest::collection::vec(strange(), 4),
        given in proptest::collection::vec(strange(), 1..3),
    ) {
        let mut memory = memory();
        for (name, text) in ["a", "b", "c", "d"].iter().zip(&files) {
            memory.0.insert(format!("/project/{name}.yml"), text.clone().into_bytes());
        }
        let given = sources(&given.iter().map(String::as_str).collect::<Vec<_>>());
        let read = || config(&given, &environment(), &memory).map(|canonical| (canonical.yaml, canonical.warnings));
        let once = read();
        prop_assert_eq!(&read(), &once);
        match once {
            Ok((yaml, _)) => {
                prop_assert!(!yaml.contains("!reset") && !yaml.contains("!override") && !yaml.contains("extends:"), "{}", yaml);
                // What is printed says all by itself.
                let again = config(&sources(&[&yaml]), &environment(), &memory);
                prop_assert_eq!(again.map(|again| again.yaml), Ok(yaml));
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| !error.to_string().contains("no reason was found")), "{:?}", errors);
            }
        }
    }

    #[test]
    fn a_key_that_is_reset_is_as_if_it_had_not_been_there(keep in proptest::collection::vec(any::<bool>(), 8)) {
        let lines = [
            ("tty", "true"), ("ports", "['80:80']"), ("environment", "[A=1]"), ("deploy", "{replicas: 3}"), ("command", "a b"),
            ("healthcheck", "{test: x}"), ("env_file", "web.env"), ("networks", "[default]"),
        ];
        let base: String = lines.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let (mut kept, mut over) = (String::new(), String::new());
        for ((key, value), keep) in lines.iter().zip(&keep) {
            match keep {
                true => kept.push_str(&format!("{key}: {value}\n")),
                false => over.push_str(&format!("{key}: !reset {value}\n")),
            }
        }
        prop_assert_eq!(canonical(&[&service(&base), &service(&over)]), canonical(&[&service(&kept)]));
        let extended = |over: &str| format!("{}  more: {{extends: web}}\n  last:\n    extends: web\n{}", service(&base),
            over.lines().map(|line| format!("    {line}\n")).collect::<String>());
        let plain = format!("{}  more:\n    image: web:1\n{}  last:\n    image: web:1\n{}", service(&base),
            base.lines().map(|line| format!("    {line}\n")).collect::<String>(),
            kept.lines().map(|line| format!("    {line}\n")).collect::<String>());
        prop_assert_eq!(canonical(&[&extended(&over)]), canonical(&[&plain]));
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(text in ".{0,400}") {
        read(&text)?;
    }

    #[test]
    fn text_made_of_yaml_signs_is_read_or_refused(text in "([-:?,{}\\[\\]&*!|>'\"%@`#~<$ \n\ta0.]|services|image|<<: ){0,80}") {
        read(&text)?;
    }

    #[test]
    fn a_damaged_stack_is_read_or_refused(
        cuts in proptest::collection::vec((0usize..4000, 0usize..12, "[-:{}\\[\\]&*$ \n0-9a-z'\"~<]{0,6}"), 1..5),
    ) {
        let mut text: Vec<char> = SHOP.chars().collect();
        for (at, len, new) in cuts {
            let at = at % text.len().max(1);
            let end = (at + len).min(text.len());
            text.splice(at..end, new.chars());
        }
        read(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn a_stack_without_some_of_its_lines_is_read_or_refused(keep in proptest::collection::vec(any::<u8>(), 64)) {
        let kept = SHOP.lines().zip(keep.iter().cycle()).filter(|(_, keep)| **keep > 30).map(|(line, _)| line);
        read(&kept.collect::<Vec<_>>().join("\n"))?;
    }

    #[test]
    fn expansion_never_panics(text in "[$:{}?+aA_1 -]{0,60}") {
        let _ = super::super::interpolate::expand(&text, &environment(), &mut Vec::new());
    }

    #[test]
    fn a_duration_survives_its_text(nanos in 0u64..=i64::MAX as u64 / 2) {
        let duration = std::time::Duration::from_nanos(nanos);
        prop_assert_eq!(super::super::units::duration(&super::super::units::duration_text(duration)).map(|d| d.as_nanos() / 1000), Some(u128::from(nanos) / 1000));
    }
}
