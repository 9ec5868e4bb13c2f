//! Where values come from, and which of them wins.

use crate::common::Place;

const STEP: &str = "roles: { r: { startup: [ { command: [echo, \"${A}|${B}|${C}\"] } ] } }\n";

#[test]
fn the_later_source_wins_and_set_wins_over_all() {
    let place = Place::with(&format!(
        "settings:\n  sources:\n    - file: low.json\n    - file: ${{NAME}}.toml\n      map: {{ B: tool.poetry.version }}\n    - file: gone.yaml\n      optional: true\n    - command: [sh, -c, \"echo from ${{NAME}}; echo second line\"]\n      key: C\n    - environment\n    - secret: file:gac.json\n  keys: {{ NAME: {{ default: high }}, A: {{ required: true }}, B: {{ required: true }}, C: {{ required: true }} }}\n{STEP}"
    ))
    .file("low.json", r#"{"A": "low", "B": "low", "C": "low", "D": "undeclared"}"#)
    .file("high.toml", "[tool.poetry]\nversion = '1.10'\n");
    let place = place.file("gac.json", "{}");
    let ended = place.run(&["run", "r"]);
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["low|1.10|from high"]);
    let settings = ended.messages("settings");
    assert_eq!(
        settings,
        [
            "4 settings resolved from the file low.json, the file high.toml, the output of `sh -c 'echo from ${NAME}; echo second line'`"
        ]
    );
    let place = place.env("A", "environment").env("B", "environment");
    assert_eq!(place.play().said(), ["environment|environment|from high"]);
    let place = place.file("gac.json", r#"{"A": "gac"}"#);
    assert_eq!(place.play().said(), ["gac|environment|from high"]);
    let ended = place.run(&[
        "run", "r", "--set", "A=set", "--set", "C=a=b", "--set", "A=last",
    ]);
    assert_eq!(ended.said(), ["last|environment|a=b"]);
}

#[test]
fn derived_values_come_in_any_order() {
    let place = Place::with(&format!(
        "settings:\n  sources: [environment]\n  keys: {{ A: {{ value: \"${{B}}!\" }}, B: {{ value: \"${{C or 'nothing'}}?\" }}, C: {{ default: \"\" }} }}\n{STEP}"
    ));
    assert_eq!(place.play().said(), ["nothing?!|nothing?|"]);
    let place = place.env("C", "x").env("A", "not asked");
    assert_eq!(place.play().said(), ["x?!|x?|x"]);
}

#[test]
fn a_source_that_cannot_be_read() {
    let place = |source: &str| {
        Place::with(&format!(
            "settings: {{ sources: [ {source} ], keys: {{ A: {{ default: \"\" }}, B: {{ default: \"\" }}, C: {{ default: \"\" }} }} }}\n{STEP}"
        ))
    };
    place("{ file: gone.json }").play().expect(
        78,
        "cannot read the settings file gone.json: there is no such file",
    );
    place("{ file: settings.txt }")
        .play()
        .expect(78, "its name ends in none of .json, .toml, .yaml");
    for (name, text) in [("x.json", "{"), ("x.toml", "= 1"), ("x.yaml", "a: [")] {
        place(&format!("{{ file: {name}, optional: true }}"))
            .file(name, text)
            .play()
            .expect(78, &format!("cannot read the settings file {name}: "));
    }
    place("{ command: [no-such-program], key: A }")
        .play()
        .expect(78, "cannot get A from `no-such-program`: ");
    place("{ command: [sh, -c, exit 3], key: A }")
        .play()
        .expect(78, "cannot get A from `sh -c 'exit 3'`: it exited with 3");
    place("{ command: [sleep, \"60\"], key: A, timeout: 100ms }")
        .play()
        .expect(
            78,
            "cannot get A from `sleep 60`: it took longer than 100ms",
        );
    place("{ command: [no-such-program], key: A, optional: true }, { command: [\"false\"], key: A, optional: true }")
        .play()
        .expect(0, "is done");
}
