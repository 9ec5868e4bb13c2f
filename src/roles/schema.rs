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

/// Whether a value is a JSON Schema; the error says where it is not.
pub fn is_schema(schema: &Json) -> Result<(), String> {
    match jsonschema::validator_for(schema) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() {
                "its top".to_owned()
            } else {
                at
            };
            Err(format!("this is not a JSON Schema: at {at}, {error}"))
        }
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
                    key["description"].as_str().is_some_and(|d| d.len() > 8),
                    "{name}"
                );
                keys += 1;
            }
        }
        assert!(keys > 100, "{keys}");
    }

    #[test]
    fn what_is_not_a_schema_is_said() {
        let error = is_schema(&json!({ "type": "objekt" })).unwrap_err();
        assert!(error.contains("objekt"), "{error}");
    }
}
