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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

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
