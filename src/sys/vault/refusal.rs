//! What an answer of Secrets Manager that is not a value means, and what to do about it.
//!
//! Pure: code, message and status in, a [`Failure`] out. The service's own message is shown, shortened:
//! it names principals and resources, not secrets.

use super::{Again, Failure, Subject};
use crate::outcome::Exit;
use crate::sys::aws::{Arn, brief};

/// Codes that mean: these credentials are not, or no longer, valid.
const BAD_TOKENS: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Codes that mean: the signature does not fit the secret key or the time.
const BAD_SIGNATURES: &[&str] = &[
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// The failure for `code` and `message` of an answer with `status`, which is not 2xx.
pub(super) fn explain(
    code: Option<&str>,
    message: Option<&str>,
    status: u16,
    subject: &Subject,
) -> Failure {
    let message = brief(message.unwrap_or_default());
    let known = code.unwrap_or_default();
    let cause = match (code, message.is_empty()) {
        (Some(code), false) => format!("{}: {message}", brief(code)),
        (Some(code), true) => brief(code),
        (None, _) => format!("HTTP status {status}, without an error of AWS"),
    };
    let failure = |exit, again, help| Failure {
        cause,
        help,
        exit,
        again,
    };
    if throttled(known, status) {
        let help = "Secrets Manager limits calls by account and region: try again later".to_owned();
        failure(Exit::UNAVAILABLE, Again::Later, help)
    } else if status >= 500 || known == "RequestTimeout" || status == 408 {
        failure(Exit::UNAVAILABLE, Again::Soon, subject.reach())
    } else if BAD_TOKENS.contains(&known) {
        let help = "get new credentials; those in AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN win over a profile and a task role".to_owned();
        failure(Exit::NOPERM, Again::No, help)
    } else if BAD_SIGNATURES.contains(&known) {
        let help = "check AWS_SECRET_ACCESS_KEY, and the clock of this machine".to_owned();
        failure(Exit::NOPERM, Again::No, help)
    } else if known == "DecryptionFailure" {
        let help =
            "allow `kms:Decrypt` on the secret's key, and check that the key is enabled".to_owned();
        failure(Exit::NOPERM, Again::No, help)
    } else if known.starts_with("AccessDenied")
        || known == "NotAuthorized"
        || status == 403
        || status == 401
    {
        failure(Exit::NOPERM, Again::No, allow(&message, subject))
    } else {
        failure(Exit::CONFIG, Again::No, correct(known, &message, subject))
    }
}

fn throttled(code: &str, status: u16) -> bool {
    status == 429
        || code.contains("Throttl")
        || matches!(
            code,
            "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown"
        )
}

/// Which permission to give to whom.
fn allow(message: &str, subject: &Subject) -> String {
    let permission = match word_after(message, "perform: ") {
        Some(permission) => permission,
        None if message.contains("KMS") => "kms:Decrypt",
        None => "secretsmanager:GetSecretValue",
    };
    let object = match permission.starts_with("kms:") {
        true => "the secret's key",
        false => "this secret",
    };
    let caller = word_after(message, "User: ").and_then(Arn::parse);
    let resource = word_after(message, "resource: ").unwrap_or(&subject.name);
    let owner = Arn::parse(resource).map_or("", |arn| arn.account);
    match caller {
        Some(caller) if !owner.is_empty() && owner != caller.account => format!(
            "allow `{permission}` on {object} to {}; it is in account {owner}, where the resource's own policy must allow it too",
            principal(caller)
        ),
        Some(caller) => format!("allow `{permission}` on {object} to {}", principal(caller)),
        None if !owner.is_empty() => {
            format!(
                "allow `{permission}` on {object} of account {owner} to the task role or user in use"
            )
        }
        None => format!("allow `{permission}` on {object} to the task role or user in use"),
    }
}

/// What to correct in name, region or account.
fn correct(code: &str, message: &str, subject: &Subject) -> String {
    let account = Arn::parse(&subject.name).map_or("", |arn| arn.account);
    match code {
        "ResourceNotFoundException" if message.contains("staging label") => {
            "the secret is there and has no current value: put one".to_owned()
        }
        "ResourceNotFoundException" if !account.is_empty() => {
            format!(
                "check the name, that it is in {}, and account {account}",
                subject.region
            )
        }
        "ResourceNotFoundException" => format!(
            "check the name, that it is in {}, and that the credentials are of the right account; a secret of another account needs its ARN",
            subject.region
        ),
        "InvalidRequestException" if message.contains("delet") => {
            "restore it: aws secretsmanager restore-secret".to_owned()
        }
        "" => "check that the endpoint is Secrets Manager, and proxies on the way".to_owned(),
        _ => "check the secret's name and region".to_owned(),
    }
}

/// "role `x` of account 123456789012".
fn principal(arn: Arn<'_>) -> String {
    let (kind, rest) = arn.resource.split_once('/').unwrap_or(("", arn.resource));
    let who = match kind {
        "assumed-role" => {
            let role = rest.split('/').next().unwrap_or(rest);
            format!("role `{role}`")
        }
        "user" => format!("user `{rest}`"),
        _ => format!("`{}`", arn.resource),
    };
    format!("{who} of account {}", arn.account)
}

/// The word that follows `mark`, without the comma or full stop behind it.
fn word_after<'a>(message: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(mark)?;
    let word = rest.split_whitespace().next()?;
    Some(word.trim_end_matches([',', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            name: "gac".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: None,
        }
    }

    fn help(code: &str, message: &str) -> (Exit, String) {
        let failure = explain(Some(code), Some(message), 400, &subject());
        assert_eq!(failure.again, Again::No);
        assert_eq!(failure.cause, format!("{code}: {message}"));
        (failure.exit, failure.help)
    }

    #[test]
    fn a_refusal_names_permission_principal_and_account() {
        let role = "User: arn:aws:sts::111122223333:assumed-role/portal-task/abc is not authorized to perform: ";
        let cases = [
            (
                format!("{role}secretsmanager:GetSecretValue on resource: gac because no identity-based policy allows the secretsmanager:GetSecretValue action"),
                "allow `secretsmanager:GetSecretValue` on this secret to role `portal-task` of account 111122223333",
            ),
            (
                format!("{role}secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:us-east-1:444455556666:secret:gac-AbCdEf because no resource-based policy allows it"),
                "allow `secretsmanager:GetSecretValue` on this secret to role `portal-task` of account 111122223333; it is in account 444455556666, where the resource's own policy must allow it too",
            ),
            (
                "User: arn:aws:iam::111122223333:user/team/ann is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:111122223333:key/1 with an explicit deny".to_owned(),
                "allow `kms:Decrypt` on the secret's key to user `team/ann` of account 111122223333",
            ),
            (
                "Access to KMS is not allowed".to_owned(),
                "allow `kms:Decrypt` on the secret's key to the task role or user in use",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(
                help("AccessDeniedException", &message),
                (Exit::NOPERM, expected.to_owned())
            );
        }
    }

    #[test]
    fn every_other_refusal_has_its_code_and_cure() {
        let (exit, cure) = help(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
        );
        assert_eq!(
            (exit, cure.as_str()),
            (
                Exit::CONFIG,
                "the secret is there and has no current value: put one"
            )
        );
        let (exit, cure) = help(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        );
        assert_eq!(
            (exit, cure.as_str()),
            (
                Exit::CONFIG,
                "restore it: aws secretsmanager restore-secret"
            )
        );
        for code in BAD_TOKENS
            .iter()
            .chain(BAD_SIGNATURES)
            .chain(&["DecryptionFailure"])
        {
            assert_eq!(help(code, "no").0, Exit::NOPERM, "{code}");
        }
        assert_eq!(help("InvalidParameterException", "no").0, Exit::CONFIG);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (code, status, again) in [
            (Some("ThrottlingException"), 400, Again::Later),
            (Some("TooManyRequestsException"), 400, Again::Later),
            (None, 429, Again::Later),
            (Some("InternalServiceError"), 500, Again::Soon),
            (None, 503, Again::Soon),
            (None, 599, Again::Soon),
            (Some("RequestTimeout"), 400, Again::Soon),
        ] {
            let failure = explain(code, None, status, &subject());
            assert_eq!(
                (failure.exit, failure.again),
                (Exit::UNAVAILABLE, again),
                "{code:?} {status}"
            );
        }
        let failure = explain(None, Some("<html>"), 404, &subject());
        assert_eq!(failure.cause, "HTTP status 404, without an error of AWS");
        assert_eq!((failure.exit, failure.again), (Exit::CONFIG, Again::No));
    }

    #[test]
    fn the_request_that_a_wrong_signature_quotes_is_not_shown() {
        let message = "The request signature we calculated does not match the signature you provided.\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:CANARY";
        for message in [message.to_owned(), message.replace('\n', " ")] {
            let failure = explain(
                Some("InvalidSignatureException"),
                Some(&message),
                400,
                &subject(),
            );
            assert!(!failure.cause.contains("CANARY"), "{}", failure.cause);
        }
        let long = explain(Some("X"), Some(&"é".repeat(1000)), 400, &subject());
        assert_eq!(long.cause.chars().count(), "X: ".len() + 301);
    }
}
