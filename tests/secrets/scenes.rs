//! What the canary stands in: a GAC, settings, and roles that succeed and fail in every way.

/// What stands in every value, as `upper` and `lower` leave it.
pub const MARKERS: [&str; 2] = ["canary", "cnry"];

pub const GAC: &str = r#"{
  "TOKEN": "CANARY-token%9f8e$7d'6c\"5b",
  "SHORT": "CNRY#s1",
  "PLAIN": "CANARYplain",
  "BROKEN": "CANARYbroken\n[CANARYsection]",
  "NUL": "CANARYnul\u0000CANARY",
  "LEAVES": "{\"user\": \"u\", \"password\": \"CANARYleaf-77\"}",
  "LIST": ["CANARYlist"],
  "OBJECT": {"CANARYkey": "CANARYobject"},
  "UNFILLED": "XXX: ENTER VALUE",
  "UNDECLARED": "CANARYundeclared",
  "UNDECLARED_LIST": ["CANARYundeclared"]
}"#;

pub const SETTINGS: &str = r##"settings:
  sources:
    - environment
    - { secret: "${IDENTITY}", region: us-east-1, placeholder: "XXX: ENTER VALUE" }
  keys:
    IDENTITY: { default: "file:gac.json" }
    PORT: { default: "1" }
    TOKEN: { required: true, secret: true }
    SHORT: { required: true, secret: true }
    PLAIN: { required: true }
    BROKEN: { required: true, secret: true }
    NUL: { required: true, secret: true }
    LEAVES: { required: true, secret: true }
    LIST: { required: true, secret: true }
    OBJECT: { required: true, secret: true }
    UNFILLED: { required: true, secret: true }
    DERIVED: { value: "postgres://u:${TOKEN|urlencode}@${PLAIN}/" }
    QUOTED: { value: "${TOKEN|tojson}" }
    SHOUTED: { value: "${SHORT|upper}" }
    WRONG_INT: { value: "${SHORT|int + 1}" }
    WRONG_FLOAT: { value: "${PLAIN|float}" }
    WRONG_BOTH: { value: "${SHORT|float + PLAIN|int}" }
    WRONG_LIST: { value: "${SHORT|split('#')}" }
    WRONG_FIELD: { value: "${PLAIN.field}" }
    WRONG_ITEM: { value: "${SHORT['x']}" }
    WRONG_FUEL: { value: "${(SHORT ~ PLAIN) * 100000000}" }
    GONE: { required: true, secret: true }
  assert:
    - { that: "PLAIN == 'x' or not WRONG_ASSERT", message: "${SHORT} and ${PLAIN} disagree" }
"##;

/// How a role ends, and a part of the last sentence.
pub struct Scene {
    pub name: &'static str,
    pub code: i32,
    pub why: &'static str,
    pub steps: &'static str,
}

const fn scene(name: &'static str, code: i32, why: &'static str, steps: &'static str) -> Scene {
    Scene {
        name,
        code,
        why,
        steps,
    }
}

/// A variable of a child.
pub const CHILD: &str = "{ T: \"${TOKEN}\", S: \"${SHORT}\", P: \"${PLAIN}\", D: \"${DERIVED}\", Q: \"${QUOTED}\", L: \"${LEAVES}\" }";

pub const SCENES: &[Scene] = &[
    scene(
        "fine",
        0,
        "is done",
        r#"
      - { render: { source: all.txt, destination: out.txt } }
      - { command: [sh, -c, "env > env.txt"], environment: CHILD }
      - { if: "TOKEN and SHORT != 'x'", shell: "true" }
      - http: { method: POST, url: "http://u:${PLAIN}@127.0.0.1:${PORT}/", headers: { X-T: "Bearer ${TOKEN|urlencode}", X-S: "${SHORT}" }, body: "${BROKEN}" }
"#,
    ),
    scene(
        "child_prints",
        3,
        "`sh` exited with 3",
        r#"
      - { shell: "echo \"$T $D\"; echo \"$Q\" >&2; echo \"$L\"; printf %s \"$T\" | base64; printf '%s' \"$T\"; exit 3", environment: CHILD }
"#,
    ),
    scene(
        "child_is_not_there",
        127,
        "cannot start `no-such-program`",
        r#"
      - { command: [no-such-program], environment: CHILD }
"#,
    ),
    scene(
        "child_is_stopped",
        124,
        "took longer",
        r#"
      - { command: [sleep, "60"], environment: CHILD, timeout: 50ms }
"#,
    ),
    scene(
        "forgiven",
        0,
        "is done",
        r#"
      - { shell: "echo \"$T\"; exit 1", environment: CHILD, continue_on_error: true, retry: { attempts: 2, backoff: { initial: 1ms } } }
"#,
    ),
    scene(
        "line_break_in_an_ini",
        78,
        "the value of `${BROKEN}` has a line break",
        r#"
      - { render: { source: broken.ini, destination: out.ini } }
"#,
    ),
    scene(
        "nul_in_a_variable",
        78,
        "`T` in the environment contains a NUL byte",
        r#"
      - { command: "true", environment: { T: "${NUL}" } }
"#,
    ),
    scene(
        "line_break_in_a_header",
        69,
        "the value of header `X-B` has a line break or a control character",
        r#"
      - http: { url: "http://127.0.0.1:${PORT}/", headers: { X-B: "${BROKEN}" } }
"#,
    ),
    scene(
        "refused_request",
        69,
        "connection refused",
        r#"
      - http: { url: "http://u:${PLAIN}@127.0.0.1:1/", headers: { X-T: "${TOKEN}", X-S: "${SHORT}" }, body: "${TOKEN}${SHORT}" }
"#,
    ),
    scene(
        "wrong_answer",
        1,
        "the answer was 200",
        r#"
      - http: { url: "http://${PLAIN}:${PLAIN}@127.0.0.1:${PORT}/", expect_status: [204], headers: { X-S: "${SHORT}" } }
"#,
    ),
    scene(
        "missing_beside_them",
        78,
        "GONE is missing",
        r#"
      - { command: "true", environment: { G: "${GONE}", T: "${TOKEN}", S: "${SHORT}" } }
"#,
    ),
    scene(
        "placeholder",
        78,
        "UNFILLED is missing: ",
        r#"
      - { command: "true", environment: { U: "${UNFILLED}", S: "${SHORT}" } }
"#,
    ),
    scene(
        "nested",
        78,
        "LIST is a list in ",
        r#"
      - { command: "true", environment: { L: "${LIST}", O: "${OBJECT}", S: "${SHORT}" } }
"#,
    ),
    scene(
        "wrong_filters",
        78,
        "WRONG_INT cannot be derived: ",
        r#"
      - { command: "true", environment: { A: "${WRONG_INT}", B: "${WRONG_FLOAT}", C: "${WRONG_BOTH}", D: "${WRONG_LIST}", E: "${WRONG_FIELD}", F: "${WRONG_ITEM}", G: "${WRONG_FUEL}" } }
"#,
    ),
    scene(
        "wrong_in_a_step",
        78,
        "cannot render `${SHORT|int}`",
        r#"
      - { command: "true", environment: { A: "${SHORT|int}" } }
"#,
    ),
    scene(
        "wrong_in_a_template",
        78,
        "cannot render `wrong.txt`",
        r#"
      - { render: { source: wrong.txt, destination: out.txt } }
"#,
    ),
    scene(
        "wrong_in_a_condition",
        78,
        "cannot render the condition `SHORT|int > 3`",
        r#"
      - { if: "SHORT|int > 3", command: "true" }
"#,
    ),
    scene(
        "derived_values_in_a_failing_child",
        9,
        "exited with 9",
        r#"
      - { shell: "echo \"$A $B\"; exit 9", environment: { A: "${DERIVED}", B: "x${TOKEN}y", C: "${SHOUTED}" } }
"#,
    ),
];
