//! A browser for tests: ChromeDriver, which is started here, and the few calls of the WebDriver protocol that are needed.
//! See <https://www.w3.org/TR/webdriver2/>; `goog/cdp` and `se/log` are ChromeDriver's own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// What went wrong, in a sentence.
pub type Result<T> = std::result::Result<T, String>;

/// A browser with one tab.
pub struct Browser {
    driver: Driver,
    session: String,
    /// The browser's own directory, so that nothing is left of an earlier run and two can run side by side.
    profile: PathBuf,
}

impl Browser {
    /// Starts ChromeDriver on a free port, and through it the browser with these arguments.
    pub fn start(chromium: &Path, chromedriver: &Path, arguments: &[&str]) -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("gristmill-browser-{}-{number}", std::process::id()));
        let driver = Driver::start(chromedriver)?;
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 300_000, "pageLoad": 120_000 },
        }}});
        let made = driver.ask("POST", "/session", &wanted)?;
        let session = made["sessionId"].as_str().ok_or("ChromeDriver gave no session")?.to_owned();
        Ok(Self { driver, session, profile })
    }

    fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.driver.ask("POST", &format!("/session/{}/{path}", self.session), &body)
    }

    /// Opens a page, and waits until it has loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", json!({ "url": url })).map(drop)
    }

    /// The value of a function's body, which may use `arguments`.
    pub fn eval(&self, body: &str, arguments: Value) -> Result<Value> {
        self.post("execute/sync", json!({ "script": body, "args": list(arguments) }))
    }

    /// As [`Browser::eval`] with `await`; what it throws is the error.
    pub fn eval_async(&self, body: &str, arguments: Value) -> Result<Value> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async (...arguments) => {{ {body} }})(...[...arguments].slice(0, -1))
               .then((value) => done({{ value }}), (error) => done({{ error: String(error?.message ?? error) }}));"
        );
        let mut told = self.post("execute/async", json!({ "script": script, "args": list(arguments) }))?;
        match told["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(told["value"].take()),
        }
    }

    /// A command of the browser's own protocol.
    pub fn command(&self, name: &str, parameters: Value) -> Result<Value> {
        self.post("goog/cdp/execute", json!({ "cmd": name, "params": parameters }))
    }

    /// The errors on the console since the last call.
    pub fn console_errors(&self) -> Result<Vec<String>> {
        let entries = self.post("se/log", json!({ "type": "browser" }))?;
        let severe = |e: &&Value| e["level"] == "SEVERE";
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(entries.iter().filter(severe).map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

fn list(arguments: Value) -> Value {
    if arguments.is_array() { arguments } else { json!([arguments]) }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// ChromeDriver, stopped when this is dropped.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    fn start(program: &Path) -> Result<Self> {
        let shown = program.display();
        let started = Command::new(program).arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = started.map_err(|e| format!("cannot start {shown}: {e}"))?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("it has no output")?).lines();
        // "ChromeDriver was started successfully on port 40123."
        let port = lines.by_ref().map_while(std::result::Result::ok).find_map(|line| {
            let (_, after) = line.split_once("started successfully on port ")?;
            after.trim_end_matches('.').parse().ok()
        });
        let Some(port) = port else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("{shown} did not say on which port it listens"));
        };
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, port })
    }

    /// One request of HTTP/1.1, and the `value` of its answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let tell = |e: std::io::Error| format!("WebDriver {method} {path}: {e}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(tell)?;
        stream.set_read_timeout(Some(Duration::from_secs(330))).map_err(tell)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).map_err(tell)?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).map_err(tell)? > 2 {
            if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).map_err(tell)?;
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|e| format!("WebDriver {method} {path}: {e}"))?;
        match answer["value"]["error"].as_str() {
            Some(error) if answer["value"]["message"].is_string() => {
                Err(format!("{error}: {}", answer["value"]["message"].as_str().unwrap_or_default()))
            }
            _ => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes of a text in base 64.
pub fn from_base64(text: &str) -> Result<Vec<u8>> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Ok(c - b'A'),
        b'a'..=b'z' => Ok(c - b'a' + 26),
        b'0'..=b'9' => Ok(c - b'0' + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(format!("{:?} is not of base 64", char::from(c))),
    };
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = (bits << 6 | u32::from(value(c)?)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}
