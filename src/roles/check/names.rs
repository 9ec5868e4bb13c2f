//! Names of settings: which are declared, and what is said about one that is not.

use super::Cx;
use crate::diag::{Code, Diagnostic, nearest};
use crate::roles::tree::{Node, Value};
use crate::source::Place;

impl Cx<'_> {
    /// Whether a name is declared, or may be: where the declarations could not be read, that is the mistake.
    pub fn declared(&self, name: &str) -> bool {
        if self.roles.file.settings.keys.contains_key(name) || name == "runner" {
            return true;
        }
        let tree = &self.roles.tree;
        let under = |node: &Node, key: &str| match &node.value {
            Value::Map(entries) => {
                let misspelt = || {
                    entries
                        .iter()
                        .any(|(k, _)| nearest(&k.name, [key]).is_some())
                };
                node.get(key).is_none() && misspelt()
            }
            Value::Null => false,
            _ => true,
        };
        if under(tree, "settings") {
            return true;
        }
        let Some(settings) = tree.get("settings") else {
            return false;
        };
        if under(settings, "keys") {
            return true;
        }
        match settings.get("keys").map(|keys| (keys, &keys.value)) {
            Some((keys, Value::Map(_))) => keys.get(name).is_some(),
            Some((_, Value::Null)) | None => false,
            Some(_) => true,
        }
    }

    /// Says that a setting is not declared, with the nearest one that is. `reserved` are names that are known here
    /// without a declaration.
    pub fn undeclared(&mut self, name: &str, place: Place, reserved: &[&'static str]) {
        let diagnostic = Diagnostic::new(
            Code::UnknownSetting,
            place.clone(),
            format!("the setting `{name}` is not declared"),
        );
        let search = self.may_search();
        let keys = self.roles.file.settings.keys.keys().map(String::as_str);
        let names = keys.chain(reserved.iter().copied()).filter(|_| search);
        let near = nearest(name, names).map(str::to_owned);
        let elsewhere = place.source != self.roles.tree.place.source;
        self.diagnostics.push(match &near {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None if elsewhere => diagnostic.help("declare it under settings.keys in roles.yaml"),
            None => diagnostic.help("declare it under settings.keys"),
        });
        self.offered.extend(near);
    }
}
