//! Subjects from request headers.

use http::request::Parts;

use super::problem::Rejection;
use crate::model::Subject;

/// Reads the subject of a request from its headers: one scope a header, under a fixed root.
///
/// Whoever can set these headers can spend from any budget: let the proxy that authenticates set them, and remove what clients
/// send. A header that is missing is answered with 401, one that is no id with 400, and so is one that comes with several values:
/// a proxy that adds its own behind the client's would let the client choose.
///
/// ```
/// use costguard::http::subject_from_headers;
///
/// let subject = subject_from_headers("acme", [("org", "x-org"), ("user", "x-user")]);
/// let (request, ()) = http::Request::get("/").header("x-user", "alice").body(())?.into_parts();
/// assert_eq!(subject(&request).unwrap_err().status(), 401); // no x-org
/// # Ok::<(), http::Error>(())
/// ```
pub fn subject_from_headers<const N: usize>(
    root: &str,
    scopes: [(&'static str, &'static str); N],
) -> impl Fn(&Parts) -> Result<Subject, Rejection> + Send + Sync + 'static {
    let root = Subject::new(root);
    move |request| {
        scopes.iter().try_fold(root.clone(), |subject, (kind, header)| {
            let mut values = request.headers.get_all(*header).iter();
            let Some(value) = values.next() else {
                return Err(Rejection::unauthorized(format!("the header {header} is missing")));
            };
            if values.any(|other| other != value) {
                let told = format!("the header {header} comes more than once, with different values");
                return Err(Rejection::bad_request(told));
            }
            let unreadable = |_| Rejection::bad_request(format!("the header {header} is not plain ASCII text"));
            let subject = subject.scope(kind, value.to_str().map_err(unreadable)?);
            subject.scope_of(kind).map_err(|err| Rejection::bad_request(format!("the header {header}: {err}")))?;
            Ok(subject)
        })
    }
}
