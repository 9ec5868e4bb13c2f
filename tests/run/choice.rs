//! Which role is played.

use crate::common::Place;

const ROLES: &str = "select: ${application_type}\nsettings:\n  sources: [environment]\n  keys:\n    application_type: { default: \"\", description: the role }\nroles:\n  portal: { startup: [ { command: [echo, p] } ] }\n  indexer: { startup: [ { command: [echo, i] } ] }\n";

#[test]
fn by_argument_or_by_select() {
    let place = Place::with(ROLES);
    let ended = place.run(&["run", "indexer"]);
    ended.expect(0, "role indexer is done");
    assert_eq!(ended.said(), ["i"]);
    let place = Place::with(ROLES).env("application_type", "portal");
    assert_eq!(place.run(&["run"]).said(), ["p"]);
    assert_eq!(place.run(&["run", "indexer"]).said(), ["i"]);
    let set = place.run(&["run", "--set", "application_type=indexer"]);
    assert_eq!(set.said(), ["i"]);
}

#[test]
fn a_role_that_is_not_there() {
    let place = Place::with(ROLES);
    place
        .run(&["run", "portl"])
        .expect(
            64,
            "cannot play the role `portl`, named on the command line: there is no such role",
        )
        .expect(64, "did you mean `portal`? the roles are portal, indexer");
    let place = Place::with(ROLES).env("application_type", "index");
    place
        .run(&["run"])
        .expect(
            78,
            "cannot play the role `index`, from select: ${application_type}: there is no such role",
        )
        .expect(78, "the roles are portal, indexer");
}

#[test]
fn no_role_at_all() {
    for place in [
        Place::with(ROLES),
        Place::with(ROLES).env("application_type", ""),
    ] {
        place
            .run(&["run"])
            .expect(
                78,
                "cannot choose a role: none is named, from select: ${application_type}",
            )
            .expect(78, "set application_type")
            .expect(78, "the roles are portal, indexer");
    }
    let required = ROLES.replace("default: \"\"", "required: true");
    Place::with(&required)
        .run(&["run"])
        .expect(78, "application_type is missing (the role)");
    Place::with("roles: { a: {}, b: {} }\n")
        .run(&["run"])
        .expect(64, "roles.yaml has no `select`")
        .expect(64, "the roles are a, b");
}

#[test]
fn somebody_wants_a_shell() {
    let place = Place::with(ROLES);
    place.run(&["run", "bash"]).expect(
        64,
        "for a one-off command write `runner exec ROLE -- COMMAND`",
    );
}

#[test]
fn the_file_can_be_elsewhere_and_paths_count_from_the_working_directory() {
    let place = Place::empty()
        .file(
            "etc/other.yaml",
            "version: 1\nroles: { r: { startup: [ { render: { source: t, destination: out } } ] } }\n",
        )
        .file("t", "text\n");
    place
        .run(&["run", "r", "--config", "etc/other.yaml"])
        .expect(0, "is done");
    assert_eq!(place.read("out"), "text\n");
    let place = place.env("RUNNER_CONFIG", "etc/other.yaml");
    place.run(&["run", "r"]).expect(0, "is done");
    place
        .run(&["run", "r", "--config", "gone.yaml"])
        .expect(78, "gone.yaml cannot be used");
}
