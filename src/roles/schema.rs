//! JSON Schemas: the one of roles.yaml, made from the language's own declarations, and those of messages. The only
//! importer of jsonschema.

use serde_json::{Value as Json, json};

use super::shape::{Definitions, Shape};
use super::spec::File;

/// The JSON Schema of roles.yaml, draft 2020-12.
pub fn of_roles() -> Json {
    let mut defs = Definitions::default();
    let _ = File::schema(&mut defs);
    let file = defs.schemas.shift_remove("File").unwrap_or_default();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "roles.yaml",
    });
    if let (Json::Object(schema), Json::Object(file)) = (&mut schema, file) {
        schema.extend(file);
        schema.insert("$defs".to_owned(), json!(defs.schemas));
    }
    schema
}

/// Whether a value is a JSON Schema; the error is the path to what is not, and why.
pub fn is_schema(schema: &Json) -> Result<(), (Vec<String>, String)> {
    let Err(error) = jsonschema::validator_for(schema) else {
        return Ok(());
    };
    let path: Vec<String> = error
        .instance_path()
        .to_string()
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let value = path.iter().try_fold(schema, |json, step| match json {
        Json::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => json.get(step),
    });
    let shown = value.map_or_else(|| "this".to_owned(), |value| format!("`{value}`"));
    let shown = if shown.chars().count() > 60 {
        "this".to_owned()
    } else {
        shown
    };
    let message = match path.last() {
        Some(key) => format!("{shown} cannot stand under `{key}` in a JSON Schema"),
        None => format!("this is not a JSON Schema: {error}"),
    };
    Err((path, message))
}

/// A schema of messages, compiled.
#[derive(Debug)]
pub struct MessageSchema(jsonschema::Validator);

impl MessageSchema {
    /// `validate` has made sure that it is a schema.
    pub fn compile(schema: &Json) -> Result<Self, String> {
        jsonschema::validator_for(schema)
            .map(Self)
            .map_err(|error| format!("this is not a JSON Schema: {}", error.masked()))
    }

    /// Why a message does not fit, in words that hold nothing of it.
    pub fn misfit(&self, body: &str) -> Option<String> {
        let message: Json = match serde_json::from_str(body) {
            Ok(message) => message,
            Err(_) if body.is_empty() => return Some("the message is empty".to_owned()),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                return Some(format!(
                    "the message is not JSON: line {line}, column {column}"
                ));
            }
        };
        let error = self.0.validate(&message).err()?;
        let rule = error.schema_path().to_string();
        // The errors of these rules name keys of the message.
        let tells = [
            "additionalProperties",
            "unevaluatedProperties",
            "propertyNames",
        ]
        .iter()
        .any(|rule| error.kind().keyword() == *rule);
        Some(match tells {
            true => format!("the message does not fit its schema at `{rule}`"),
            false => format!(
                "the message does not fit its schema at `{rule}`: {}",
                error.masked()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_one_and_every_key_is_described() {
        let schema = of_roles();
        assert_eq!(is_schema(&schema), Ok(()));
        let mut keys = 0;
        let records = schema["$defs"]
            .as_object()
            .unwrap()
            .values()
            .chain([&schema]);
        for record in records {
            for (name, key) in record["properties"].as_object().unwrap() {
                assert!(
                    key["description"]
                        .as_str()
                        .is_some_and(|d| d.trim().len() > 6),
                    "{name}"
                );
                keys += 1;
            }
        }
        assert!(keys > 100, "{keys}");
    }

    #[test]
    fn what_is_not_a_schema_is_said() {
        let (path, message) = is_schema(&json!({ "type": "objekt" })).unwrap_err();
        assert_eq!(path, ["type"]);
        assert_eq!(
            message,
            "`\"objekt\"` cannot stand under `type` in a JSON Schema"
        );
    }

    #[test]
    fn a_misfit_is_told_without_the_message() {
        let schema = json!({
            "type": "object", "required": ["uuid"], "additionalProperties": false,
            "properties": { "uuid": { "type": "string" }, "n": { "maximum": 3 } },
        });
        let schema = MessageSchema::compile(&schema).unwrap();
        assert_eq!(schema.misfit(r#"{"uuid": "1"}"#), None);
        for (body, expected) in [
            ("", "the message is empty"),
            (
                "{\"uuid\": CANARY}",
                "the message is not JSON: line 1, column 10",
            ),
            (
                "{}",
                "the message does not fit its schema at `/required`: \"uuid\" is a required property",
            ),
            (
                r#"{"uuid": ["CANARY"]}"#,
                "the message does not fit its schema at `/properties/uuid/type`: value is not of type \"string\"",
            ),
            (
                r#"{"uuid": "1", "CANARY": 1}"#,
                "the message does not fit its schema at `/additionalProperties`",
            ),
        ] {
            assert_eq!(schema.misfit(body).as_deref(), Some(expected), "{body}");
        }
        assert!(
            !schema
                .misfit(r#"{"uuid": "1", "n": 777}"#)
                .unwrap()
                .contains("777")
        );
    }
}
