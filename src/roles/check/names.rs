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
        let readable = |node: &Node| matches!(node.value, Value::Map(_) | Value::Null);
        let Some(settings) = self.roles.tree.get("settings") else {
            return false;
        };
        match settings.get("keys") {
            Some(keys) => !readable(keys) || keys.get(name).is_some(),
            None => !readable(settings),
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
