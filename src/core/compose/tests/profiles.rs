//! Services that are part of the stack only with a profile.

use super::extends::project;
use super::*;

const FILE: &str = "services:
  foo: {image: foo}
  bar: {image: bar, profiles: [test]}
  baz: {image: baz, depends_on: [bar], profiles: [test]}
  zot: {image: zot, depends_on: [bar], profiles: [debug]}
";

fn with(profiles: &str) -> BTreeMap<String, String> {
    let mut env = environment();
    env.insert("COMPOSE_PROFILES".to_owned(), profiles.to_owned());
    env
}

/// The services of a stack, or what is wrong.
fn services(files: &[&str], profiles: &str) -> Result<Vec<String>, Vec<String>> {
    let memory = project(&[
        ("/project/inc.yml", "services: {inc: {image: i, profiles: [test]}, always: {image: a}}\n"),
        ("/project/ext.yml", "services: {ext: {image: e, profiles: [debug]}}\n"),
    ]);
    let told = |errors: Vec<ComposeError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let printed = config(&sources(files), &with(profiles), &memory).map_err(told)?;
    assert!(!printed.yaml.contains("profiles"), "{}", printed.yaml);
    let loaded = load(Some("s"), &sources(files), &with(profiles), &memory).map_err(told)?;
    let names: Vec<_> = loaded.stack.services.iter().map(|service| service.spec.name[2..].to_owned()).collect();
    for name in ["foo", "bar", "baz", "zot", "inc"] {
        assert_eq!(printed.yaml.contains(&format!("\n  {name}:\n")), names.iter().any(|known| known == name), "{name}");
    }
    Ok(names)
}

fn on(files: &[&str], profiles: &str) -> Vec<String> {
    services(files, profiles).unwrap()
}

#[test]
fn services_are_on_without_a_profile_or_with_one_of_theirs() {
    assert_eq!(on(&[FILE], ""), ["foo"]);
    assert_eq!(on(&[FILE], "test"), ["bar", "baz", "foo"]);
    assert_eq!(on(&[FILE], "test, debug"), ["bar", "baz", "foo", "zot"]);
    assert_eq!(on(&[FILE], "*"), ["bar", "baz", "foo", "zot"]);
}

#[test]
fn to_wait_for_a_service_that_is_off_is_an_error_with_a_remedy_unless_it_is_not_required() {
    assert_eq!(
        services(&[FILE], "debug").unwrap_err(),
        [
            "stack.yml:5:34: services.zot.depends_on: bar is off: it is in test; turn it on with --profile test, or write required: false"
        ]
    );
    let over = "services: {zot: {depends_on: {bar: {required: false}}}}\n";
    assert_eq!(on(&[FILE, over], "debug"), ["foo", "zot"]);
}

#[test]
fn profiles_of_several_files_add_up_and_can_be_taken_away() {
    assert_eq!(on(&[FILE, "services: {bar: {profiles: [more]}}\n"], "more"), ["bar", "foo"]);
    assert_eq!(on(&[FILE, "services: {bar: {profiles: !reset []}}\n"], ""), ["bar", "foo"]);
    assert_eq!(on(&[FILE, "services: {bar: {profiles: !override [b]}}\n"], "b,test").len(), 3);
    let over = "services: {foo: {profiles: ['${FROM_CALLER}']}}\n";
    assert_eq!(on(&[FILE, over], "test"), ["bar", "baz"]);
    assert_eq!(on(&[FILE, over], "called"), ["foo"]);
}

#[test]
fn what_is_off_is_not_checked_but_its_profiles_are() {
    let off = "  off: {image: '${NOPE:?gone}', volumes_from: [x], bogus: 1, env_file: no.env, profiles: [never]}\n";
    assert_eq!(on(&[&format!("{FILE}{off}")], ""), ["foo"]);
    assert_eq!(services(&[&format!("{FILE}{off}")], "never").unwrap_err().len(), 3);
    let said = services(&[&format!("{FILE}  off: {{profiles: [a, '-b']}}\n")], "").unwrap_err();
    assert!(said[0].starts_with("stack.yml:6:23: services.off.profiles: \"-b\" is no profile"), "{said:?}");
    let said = services(&[&format!("{FILE}  off: {{profiles: a}}\n")], "").unwrap_err();
    assert!(said[0].contains("services.off.profiles: must be a list, this is a string"), "{said:?}");
}

#[test]
fn an_extended_service_hands_its_profiles_on_and_need_not_be_on() {
    let file = format!("{FILE}  qux: {{extends: bar}}\n  ext: {{extends: {{file: ext.yml, service: ext}}}}\n");
    assert_eq!(on(&[&file], ""), ["foo"]);
    assert_eq!(on(&[&file], "test"), ["bar", "baz", "foo", "qux"]);
    let own = format!("{FILE}  qux: {{extends: bar, profiles: !reset []}}\n");
    assert_eq!(on(&[&own], ""), ["foo", "qux"]);
}

#[test]
fn profiles_reach_included_files() {
    let file = format!("include: [inc.yml]\n{FILE}");
    assert_eq!(on(&[&file], ""), ["always", "foo"]);
    assert_eq!(on(&[&file], "test"), ["always", "bar", "baz", "foo", "inc"]);
}

#[test]
fn a_profile_that_turns_nothing_on_is_told() {
    let loaded = load(Some("s"), &sources(&[FILE]), &with("tset"), &memory()).unwrap();
    let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["stack.yml: no service is in the profile tset that is turned on"]);
    assert_eq!(load(Some("s"), &sources(&[FILE]), &with("*"), &memory()).unwrap().warnings, []);
}
