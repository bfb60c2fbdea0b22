//! TLS against a real server, with certificates made on the spot.

use std::net::SocketAddr;
use std::time::Duration;

use costguard::store::redis::{RedisConfig, RedisStore, Tls};
use costguard::{CostGuard, Counter, Error, ErrorKind, Limit, Meter, Money, Policy, Subject, Window};

use crate::support::{Certificates, Logs, TlsServer};

fn config(addr: SocketAddr, tls: Tls) -> RedisConfig {
    RedisConfig::server(&addr.ip().to_string(), addr.port()).tls(tls)
}

async fn charge(config: &RedisConfig) -> Result<(), Error> {
    let guard = CostGuard::builder().connect_with(config).await?;
    let counter = Counter::new("user", Meter::COST, Window::day());
    let policy = Policy::new([Limit::count_only(counter)])?;
    let alice = Subject::new("acme").scope("user", "alice");
    guard.charge(&policy, &alice, Money::from_nanos(1)).await.map(drop)
}

async fn refusal(config: &RedisConfig) -> String {
    let err = charge(config).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
    err.to_string()
}

#[tokio::test]
async fn the_right_ca_works_and_a_wrong_one_is_refused_with_what_to_do() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, false);
    charge(&config(server.addr(), Tls::new().ca(certificates.path("ca.pem")))).await.unwrap();

    let other = Tls::new().ca(certificates.path("other-ca.pem"));
    let message = refusal(&config(server.addr(), other)).await;
    assert!(message.contains("name the file of that CA in COSTGUARD_TLS_CA"), "{message}");
    let message = refusal(&config(server.addr(), Tls::new())).await;
    assert!(message.contains("name the file of that CA in COSTGUARD_TLS_CA"), "{message}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, false);
    let by_name =
        RedisConfig::server("localhost", server.addr().port()).tls(Tls::new().ca(certificates.path("ca.pem")));
    let message = refusal(&by_name).await;
    assert!(message.contains("connect by that name"), "{message}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_wanted() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, true);
    let anonymous = Tls::new().ca(certificates.path("ca.pem"));
    let known =
        anonymous.clone().client_certificate(certificates.path("client.pem"), certificates.path("client-key.pem"));
    charge(&config(server.addr(), known)).await.unwrap();

    let message = refusal(&config(server.addr(), anonymous)).await;
    assert!(message.contains("set COSTGUARD_TLS_CERT and COSTGUARD_TLS_KEY"), "{message}");
}

#[tokio::test]
async fn verification_is_turned_off_by_a_choice_of_its_own_and_that_is_logged() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, false);
    let logs = Logs::collect();
    charge(&config(server.addr(), Tls::new().ca(certificates.path("other-ca.pem")))).await.unwrap_err();
    assert!(!logs.text().contains("NOT verified"), "{}", logs.text());

    charge(&config(server.addr(), Tls::new().danger_accept_any_certificate())).await.unwrap();
    assert!(logs.text().contains("WARN"), "{}", logs.text());
    assert!(logs.text().contains("certificates are NOT verified"), "{}", logs.text());

    let url = format!("rediss://{}?tls_insecure=true", server.addr());
    charge(&RedisConfig::from_url(&url).unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_environment_is_enough_for_a_private_ca_and_a_client_certificate() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, true);
    let path = |name: &str| certificates.path(name).to_string_lossy().into_owned();
    let config = RedisConfig::from_vars(|name| match name {
        "REDIS_HOST" => Some(server.addr().ip().to_string()),
        "REDIS_PORT" => Some(server.addr().port().to_string()),
        "REDIS_TLS" => Some("true".to_owned()),
        "COSTGUARD_TLS_CA" => Some(path("ca.pem")),
        "COSTGUARD_TLS_CERT" => Some(path("client.pem")),
        "COSTGUARD_TLS_KEY" => Some(path("client-key.pem")),
        _ => None,
    });
    charge(&config.unwrap()).await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let certificates = Certificates::new();
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let gone = certificates.path("gone.pem");
    for tls in [
        Tls::new().ca(&gone),
        Tls::new().ca(certificates.path("server-key.pem")),
        Tls::new().client_certificate(certificates.path("client.pem"), certificates.path("server-key.pem")),
    ] {
        let err = RedisStore::connect_with(&config(addr, tls)).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
        assert!(err.to_string().contains(".pem"), "{err}");
    }
}

#[tokio::test]
async fn tls_meeting_no_tls_says_so_on_both_sides() {
    let certificates = Certificates::new();
    let server = TlsServer::start(&certificates, false);
    // A Redis without TLS waits for the end of what it takes for a line.
    let encrypted = config(server.plain_addr(), Tls::new()).socket_timeout(Duration::from_millis(300));
    let message = refusal(&encrypted).await;
    assert!(message.contains("whether it speaks TLS there"), "{message}");
    let plainly = RedisConfig::server("127.0.0.1", server.addr().port());
    let message = refusal(&plainly).await;
    assert!(message.contains("use rediss or REDIS_TLS=true"), "{message}");
}
