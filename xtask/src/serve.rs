//! A static server for the page, on this machine only.
//!
//! A request never becomes a path. The files are listed once, and a request is looked up in the list, so there is no way to
//! ask for anything else.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use tiny_http::{Header, Method, Request, Response, StatusCode};

/// The files of a page by what a browser asks for: `/results/index.json`.
pub struct Site {
    files: BTreeMap<String, PathBuf>,
}

impl Site {
    /// Lists a directory.
    pub fn open(root: &Path) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        list(root, "", &mut files).map_err(|e| format!("cannot list {}: {e}", root.display()))?;
        Ok(Self { files })
    }

    /// The file that a request's URL asks for.
    fn file(&self, url: &str) -> Option<&Path> {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = percent_decoded(path)?;
        let path = if path == "/" { "/index.html" } else { &path };
        self.files.get(path).map(PathBuf::as_path)
    }
}

fn list(dir: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), &name, files)?;
        } else if kind.is_file() {
            // Not a link, which could lead out of the directory.
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// A port of this machine, and who answers there.
pub struct Server {
    http: tiny_http::Server,
    port: u16,
}

impl Server {
    /// Takes the port; port 0 is any free one.
    pub fn bind(port: u16) -> Result<Self, String> {
        let http = tiny_http::Server::http(("127.0.0.1", port))
            .map_err(|e| format!("cannot serve on port {port}: {e} (`--port N` takes another)"))?;
        let port = http.server_addr().to_ip().map_or(port, |address| address.port());
        Ok(Self { http, port })
    }

    /// What to type into a browser. WebGPU needs a secure origin, and `localhost` is one.
    pub fn address(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }

    /// Answers until it is stopped.
    pub fn serve(&self, site: &Site) {
        while let Ok(request) = self.http.recv() {
            // A browser that went away has no use for the error.
            let _ = answer(site, request);
        }
    }

    /// Answers while something else runs.
    pub fn serve_while<T>(&self, site: &Site, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            scope.spawn(|| self.serve(site));
            let _stop = Stop(&self.http);
            work()
        })
    }
}

/// Ends the answering thread, also when the work panics: the scope would wait for it for ever.
struct Stop<'a>(&'a tiny_http::Server);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.unblock();
    }
}

fn answer(site: &Site, request: Request) -> std::io::Result<()> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return refuse(request, 405, "only GET and HEAD\n");
    }
    let Some(path) = site.file(request.url()) else {
        return refuse(request, 404, "not part of the page\n");
    };
    let Ok(file) = File::open(path) else {
        return refuse(request, 404, "not part of the page any more\n");
    };
    let mime = mime(&path.to_string_lossy()).unwrap_or("application/octet-stream");
    let mut response = Response::from_file(file);
    for (name, value) in [
        ("Content-Type", mime),
        // A page that was built again must be what the browser shows.
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        response.add_header(header(name, value)?);
    }
    request.respond(response)
}

fn refuse(request: Request, status: u16, text: &str) -> std::io::Result<()> {
    let response = Response::from_string(text).with_status_code(StatusCode(status));
    request.respond(response.with_header(header("Cache-Control", "no-store")?))
}

fn header(name: &str, value: &str) -> std::io::Result<Header> {
    Header::from_bytes(name, value).map_err(|()| std::io::Error::other(format!("{name}: {value} is no header")))
}

/// The MIME type of a file by its name; a browser compiles wasm as it arrives only under its own type.
pub fn mime(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "csv" => "text/csv; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

/// Undoes `%20` and the like. None for what is no UTF-8 or no escape.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn page() -> (PathBuf, PathBuf) {
        // A number for each: the tests of a process run at the same time.
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gristmill-site-{}-{count}", std::process::id()));
        let root = dir.join("page");
        std::fs::create_dir_all(root.join("results")).expect("a directory");
        std::fs::write(dir.join("secret.html"), "secret").expect("a file");
        std::fs::write(root.join("index.html"), "<p>flour</p>").expect("a file");
        std::fs::write(root.join("gristmill_bg.wasm"), "\0asm").expect("a file");
        std::fs::write(root.join("results/a b.csv"), "x").expect("a file");
        (dir, root)
    }

    #[test]
    fn a_request_finds_a_file_of_the_page_and_nothing_else() {
        let (dir, root) = page();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.join("secret.html"), root.join("link.html")).expect("a link");
        let site = Site::open(&root).expect("it is there");
        for url in ["/", "/index.html", "/index.html?case=1", "/results/a%20b.csv"] {
            assert!(site.file(url).is_some(), "{url}");
        }
        for url in [
            "",
            "index.html",
            "/../secret.html",
            "/results/../../secret.html",
            "/%2e%2e/secret.html",
            "/..%2fsecret.html",
            "/..\\secret.html",
            "//secret.html",
            "/./index.html",
            "/link.html",
            "/results",
            "/etc/passwd",
            "/%",
            "/%ff",
            "/index.html%00",
        ] {
            assert_eq!(site.file(url), None, "{url}");
        }
        assert_eq!(site.file(&format!("/{}", dir.join("secret.html").display())), None);
        std::fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn it_answers_with_types_and_no_store() {
        let (dir, root) = page();
        let site = Site::open(&root).expect("it is there");
        let server = Server::bind(0).expect("a free port");
        let ask = |line: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
            write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            text
        };
        server.serve_while(&site, || {
            let wasm = ask("GET /gristmill_bg.wasm");
            assert!(wasm.starts_with("HTTP/1.1 200"), "{wasm}");
            assert!(wasm.contains("Content-Type: application/wasm\r\n"), "{wasm}");
            assert!(wasm.contains("Cache-Control: no-store\r\n"), "{wasm}");
            assert!(ask("GET /").ends_with("<p>flour</p>"));
            assert!(!ask("HEAD /").contains("flour"));
            assert!(ask("GET /../secret.html").starts_with("HTTP/1.1 404"));
            assert!(ask("POST /").starts_with("HTTP/1.1 405"));
        });
        std::fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let server = Server::bind(0).expect("a free port");
        let reason = Server::bind(server.port).err().expect("it is taken");
        assert!(reason.contains(&format!("port {}", server.port)), "{reason}");
    }

    #[test]
    fn mime_types() {
        assert_eq!(mime("gristmill_bg.wasm"), Some("application/wasm"));
        assert_eq!(mime("gristmill.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(mime("INDEX.HTML"), Some("text/html; charset=utf-8"));
        assert_eq!(mime("Cargo.toml"), None);
        assert_eq!(mime("html"), None);
    }
}
