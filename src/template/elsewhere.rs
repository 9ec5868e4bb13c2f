//! What stands between `${` and `}` elsewhere: in a shell, in Compose, in workflows of GitHub.

use super::Fault;
use crate::diag::Code;

/// Says how a form of others is written here.
pub fn form(source: &str) -> Option<Fault> {
    of_github(source).or_else(|| of_shell(source))
}

/// `${{ secrets.NAME }}`.
fn of_github(source: &str) -> Option<Fault> {
    let inner = source.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let name = inner.rsplit('.').next().unwrap_or(inner);
    is_name(name).then(|| {
        let message = "`${{ }}` is GitHub's way to name a value";
        let fault = Fault::new(Code::ExpressionSyntax, 0..source.len(), message);
        fault.help(format!("write ${{{name}}}"))
    })
}

/// `${NAME:-default}`, `${NAME:?message}`, `${NAME:+other}`.
fn of_shell(source: &str) -> Option<Fault> {
    let (name, rest) = source.split_once(':')?;
    let sign = rest.chars().next().filter(|sign| "-?+=".contains(*sign))?;
    let rest = &rest[1..];
    let (does, cure) = match sign {
        '-' | '=' => (
            "give a default",
            format!("write ${{{name}|default('{rest}')}}"),
        ),
        '?' => (
            "demand a value",
            format!("write ${{{name}}}, and `required: true` where `{name}` is declared"),
        ),
        _ => (
            "replace a value",
            format!("write ${{'{rest}' if {name} else ''}}"),
        ),
    };
    let message = format!("`:{sign}` is the shell's way to {does}");
    let at = name.len()..name.len() + 2;
    is_name(name.trim()).then(|| Fault::new(Code::ExpressionSyntax, at, message).help(cure))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}
