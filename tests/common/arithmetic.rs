//! What the arithmetic stages do with any text: for tests/robust.rs and for the fuzz targets.

use runner::diag::{Diagnostics, github, json, sarif, text};
use runner::roles::{self, Templates, allow, check, gac};
use runner::secret::Secret;
use runner::source::{Place, Source};
use runner::template::file::{File, Rules};
use runner::template::{Condition, Item};

/// Everything that `validate` does with a text, but for reading files.
pub fn validate(text: &str) -> Diagnostics {
    let mut found = Diagnostics::new();
    let source = Source::new("roles.yaml", text);
    if let Some(roles) = roles::read(&source, &mut found) {
        // Every template is the file itself: as good a text as any.
        let templates: Templates = roles
            .templates()
            .into_iter()
            .filter_map(|(_, template)| template.source.literal())
            .map(|path| (path.to_owned(), Ok(source.clone())))
            .collect();
        check::check(&roles, &templates, check::Depth::Whole, &mut found);
        check::commands::check(&roles, &[], |_, _| false, &mut found);
        let services = roles.file.roles.values();
        let listed: Templates = services
            .flat_map(|role| role.services.values())
            .flat_map(|service| &service.listed_in)
            .map(|file| (file.raw.clone(), Ok(source.clone())))
            .collect();
        check::listed::check(&roles, &listed, &mut found);
        allow::apply(&source, templates.values().flatten(), true, &mut found);
        for role in roles.role_names() {
            let _ = runner::plan::Plan::of(&roles, role, &templates);
        }
        let held = gac::Check {
            roles: &roles,
            templates: &templates,
            below: Vec::new(),
            above: Vec::new(),
        };
        gac::check(
            "gac.json",
            &Secret::new("{\"X\": \"a\\nb\"}"),
            held,
            &mut found,
        );
        let _ = gac::of_gac(&roles);
    }
    found
}

/// Every place lies in its text, and every format can draw it.
pub fn drawn(found: &Diagnostics) {
    let inside = |place: &Place| {
        let text = place.source.text();
        assert!(place.range.start <= place.range.end && place.range.end <= text.len());
        assert!(text.is_char_boundary(place.range.start) && text.is_char_boundary(place.range.end));
    };
    for diagnostic in found.sorted() {
        diagnostic.place.iter().for_each(inside);
        diagnostic
            .related
            .iter()
            .for_each(|(place, _)| inside(place));
        assert!(!diagnostic.message.is_empty());
    }
    let _ = text::render(found, &text::Style::default());
    let _ = json::render(found);
    let _ = github::render(found);
    let _ = sarif::render(found);
}

/// What the settings are while an expression is tried; `A` holds a marker that no message may show.
fn scope(name: &str) -> Option<Item> {
    match name {
        "A" => Some(Item::Text(Secret::new("canary,1"))),
        "B" => Some(Item::Text(Secret::new(""))),
        "port" => Some(Item::Number(80)),
        _ => None,
    }
}

/// A bare expression, and the same in `${ }`: faults lie in the text and show no value.
pub fn expression(source: &str) {
    match Condition::parse(source) {
        Ok(condition) => {
            for (name, range) in condition.names() {
                assert_eq!(&source[range], name);
            }
            if let Err(fault) = condition.holds(&scope) {
                hides(&fault.message, source);
            }
        }
        Err(fault) => assert!(source.get(fault.range.clone()).is_some(), "{fault:?}"),
    }
    template(&format!("a = ${{{source}}}\nb = ${{A}}"));
}

/// A template, with and without the rules of ini files.
pub fn template(text: &str) {
    for (ini, omit_empty) in [(false, false), (false, true), (true, false), (true, true)] {
        let (file, faults) = File::parse(text, Rules { ini, omit_empty });
        for fault in faults {
            assert!(text.get(fault.range.clone()).is_some(), "{fault:?}");
        }
        for (name, range) in file.names() {
            assert_eq!(&text[range], name);
        }
        if let Err(fault) = file.render(&scope) {
            assert!(text.get(fault.range.clone()).is_some(), "{fault:?}");
            hides(&fault.message, text);
        }
    }
}

/// No message holds the marker, unless the text itself has it.
fn hides(message: &str, text: &str) {
    assert!(
        !message.contains("canary") || text.contains("canary"),
        "{message}"
    );
}
