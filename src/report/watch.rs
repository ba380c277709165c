//! The report on localhost, made anew whenever the run's record changes.

use std::path::{Path, PathBuf};

use tiny_http::{Header, Request, Response};
use yoloslim_core::{Error, Result};

use super::page_of;

/// A server of one run's report.
pub struct Server {
    http: tiny_http::Server,
    folder: PathBuf,
}

impl Server {
    /// Takes the port, on the loop-back interface alone; 0 takes one that is free.
    ///
    /// # Errors
    /// A folder without a run; a port that is taken.
    pub fn bind(folder: &Path, port: u16) -> Result<Self> {
        page_of(folder, true)?;
        let http = tiny_http::Server::http(("127.0.0.1", port))
            .map_err(|e| Error::at(format!("port {port}"), e).fix("give another with --port, or 0 for a free one"))?;
        Ok(Self { http, folder: folder.to_owned() })
    }

    /// Where a browser finds it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.http.server_addr())
    }

    /// Answers until the process is stopped.
    ///
    /// # Errors
    /// Requests that can't be received any more.
    pub fn serve(&self) -> Result<()> {
        loop {
            let request = self.http.recv().map_err(|e| Error::at(self.address(), e).fix("start it again"))?;
            self.answer(request);
        }
    }

    /// The page, or that it is what the browser has already. A browser that has gone needs no answer.
    fn answer(&self, request: Request) {
        let _ = match request.url() {
            "/" => match page_of(&self.folder, true) {
                Ok(page) => {
                    let tag = tag(&page);
                    let known = |h: &Header| h.field.equiv("If-None-Match") && h.value.as_str() == tag;
                    if request.headers().iter().any(known) {
                        request.respond(Response::empty(304))
                    } else {
                        // So that the page knows what it is, and misses no change before it first asks.
                        let page = page.replacen("data-watch", &format!("data-watch={tag}"), 1);
                        let headers = [("Content-Type", "text/html; charset=utf-8"), ("ETag", tag.as_str())];
                        let headers = headers.into_iter().filter_map(|(k, v)| Header::from_bytes(k, v).ok());
                        request.respond(headers.fold(Response::from_string(page), Response::with_header))
                    }
                }
                Err(e) => request.respond(Response::from_string(e.to_string()).with_status_code(500)),
            },
            _ => request.respond(Response::empty(404)),
        };
    }
}

/// What changes with the page: of its content, since two writes within one tick of the clock have the same time.
fn tag(page: &str) -> String {
    format!("\"{}\"", blake3::hash(page.as_bytes()).to_hex())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use yoloslim_core::record::RECORD;
    use yoloslim_core::record::RunRecord;

    fn get(address: &str, path: &str, tag: &str) -> String {
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_page_is_sent_once_and_again_after_the_record_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join(RECORD);
        RunRecord::default().write(&record).unwrap();
        let server = Server::bind(folder.path(), 0).unwrap();
        let address = server.address();
        // The thread ends with the test's process.
        std::thread::spawn(move || server.serve());
        let first = get(&address, "/", "none");
        assert!(first.starts_with("HTTP/1.1 200") && first.contains("data-watch"), "{first}");
        let old = tag(&page_of(folder.path(), true).unwrap());
        assert!(first.contains(&old));
        assert!(get(&address, "/", &old).starts_with("HTTP/1.1 304"));
        let mut changed = RunRecord::default();
        changed.begin("baseline", 3);
        changed.write(&record).unwrap();
        assert!(get(&address, "/", &old).contains("epoch 0 of 3"));
        assert!(get(&address, "/other", "none").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_folder_without_a_run_is_an_error_before_anything_is_served() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Server::bind(folder.path(), 0).err().unwrap().to_string().contains("no record"));
    }
}
