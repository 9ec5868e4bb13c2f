//! The JSON Schema of a GAC, from the declared settings.

use serde_json::{Map, Value as Json, json};

use super::given_elsewhere;
use crate::roles::Roles;
use crate::settings::spec::{Kind, SourceSpec};

/// The JSON Schema of the GAC that these roles read, draft 2020-12. Keys that nothing declares are allowed, as a GAC
/// serves other programs too.
pub fn of_gac(roles: &Roles) -> Json {
    let settings = &roles.file.settings;
    let elsewhere = given_elsewhere(roles);
    let placeholder = settings.sources.iter().find_map(|source| match source {
        SourceSpec::Secret(source) => source.placeholder.as_ref()?.literal(),
        _ => None,
    });
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, key) in &settings.keys {
        let mut property = json!({ "type": ["string", "number", "boolean", "null"] });
        match key.kind() {
            Some(Kind::Value(_)) | None => continue,
            Some(Kind::Required) if elsewhere.contains(name) => {}
            Some(Kind::Required) => {
                property = json!({ "type": ["string", "number", "boolean"], "minLength": 1 });
                if let Some(placeholder) = placeholder {
                    property["not"] = json!({ "const": placeholder });
                }
                required.push(name);
            }
            Some(Kind::Default(text)) => {
                if let Some(text) = text.literal() {
                    property["default"] = json!(text);
                }
            }
        }
        if let Some(description) = &key.description {
            property["description"] = json!(description);
        }
        if key.secret == Some(true) {
            property["writeOnly"] = json!(true);
        }
        properties.insert(name.clone(), property);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "GAC",
        "description": "The secret that holds a container's settings, as roles.yaml declares them.",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": true,
    })
}
