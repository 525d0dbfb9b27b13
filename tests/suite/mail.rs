//! E-mail: one for a sweep, to each address, again and again until a server takes it, and nothing that a script prints acts on it.

use crate::harness::{Server, Yard, wait_until};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";

/// What a server for e-mail does with a message.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Take,
    /// It goes away.
    Close,
    /// It knows no such recipient.
    RefuseRecipient,
    /// It does not want the message now.
    RefuseMessage,
    /// It has the message and never says so.
    Hang,
    /// It does not like the password, and says it.
    RefusePassword,
}

/// A connection as the server saw it.
#[derive(Debug, Clone, Default)]
struct Mail {
    commands: Vec<String>,
    /// The message as it was before it was encoded for the wire, if it came.
    text: Option<String>,
    is_taken: bool,
}

impl Mail {
    fn text(&self) -> &str {
        self.text.as_deref().unwrap()
    }

    fn header(&self, name: &str) -> String {
        let head = self.text().split("\n\n").next().unwrap().replace("\n ", " ");
        let found = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name}: {head}")).to_owned()
    }

    fn body(&self) -> String {
        let body = self.text().split_once("\n\n").unwrap().1;
        match self.header("Content-Transfer-Encoding").as_str() {
            "7bit" => body.to_owned(),
            "quoted-printable" => unquoted(body),
            other => panic!("{other}: {body}"),
        }
    }
}

fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&behind[..2]).unwrap(), 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What came, one connection after the other.
#[derive(Clone)]
struct Post {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Post {
    /// `mood` gets the recipient, or nothing at the password, and how many connections came that far before.
    fn new(mood: impl Fn(&str, usize) -> Mood + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let post = Self { address: listener.local_addr().unwrap(), mails: Arc::default() };
        let (keeps, mood) = (post.clone(), Arc::new(mood));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (post, mood) = (keeps.clone(), Arc::clone(&mood));
                std::thread::spawn(move || post.serve(stream.unwrap(), &*mood));
            }
        });
        post
    }

    /// Ends with the connection.
    fn serve(&self, stream: TcpStream, mood: &dyn Fn(&str, usize) -> Mood) -> Option<()> {
        let at = {
            let mut mails = self.mails.lock().unwrap();
            mails.push(Mail::default());
            mails.len() - 1
        };
        let mut reader = BufReader::new(stream);
        let mut now = Mood::Take;
        write!(reader.get_mut(), "220 test\r\n").ok()?;
        loop {
            let line = line(&mut reader)?;
            self.mails.lock().unwrap()[at].commands.push(line.clone());
            let so_far = |beginning: &str| {
                let mails = self.mails.lock().unwrap();
                let came = |mail: &&Mail| mail.commands.iter().any(|command| command.starts_with(beginning));
                mails.iter().filter(came).count() - 1
            };
            let answer = match line.split(' ').next().unwrap() {
                "EHLO" => "250-test\r\n250-AUTH PLAIN\r\n250 SIZE 1000000",
                "AUTH" if mood("", so_far("AUTH")) == Mood::RefusePassword => "535 hunter2-hunter2 is wrong",
                "AUTH" => "235 welcome",
                "RCPT" => {
                    let to = line.strip_prefix("RCPT TO:<").unwrap().strip_suffix('>').unwrap();
                    now = mood(to, so_far(&line));
                    match now {
                        Mood::Close => return None,
                        Mood::RefuseRecipient => "550 nobody of that name\x1b[2J",
                        _ => "250 fine",
                    }
                }
                "DATA" => {
                    write!(reader.get_mut(), "354 go on\r\n").ok()?;
                    self.take(at, &mut reader)?;
                    match now {
                        Mood::RefuseMessage => "451 not now",
                        Mood::Hang => {
                            while self::line(&mut reader).is_some() {}
                            return None;
                        }
                        _ => {
                            self.mails.lock().unwrap()[at].is_taken = true;
                            "250 taken"
                        }
                    }
                }
                "QUIT" => {
                    write!(reader.get_mut(), "221 bye\r\n").ok()?;
                    return None;
                }
                _ => "250 fine",
            };
            write!(reader.get_mut(), "{answer}\r\n").ok()?;
        }
    }

    fn take(&self, at: usize, reader: &mut BufReader<TcpStream>) -> Option<()> {
        let mut text = String::new();
        loop {
            let line = line(reader)?;
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
        self.mails.lock().unwrap()[at].text = Some(text);
        Some(())
    }

    fn all(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    fn taken(&self) -> Vec<Mail> {
        self.all().into_iter().filter(|mail| mail.is_taken).collect()
    }
}

/// A line without its end, which is the one of RFC 5321.
fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8(line.strip_suffix(b"\r\n")?.to_vec()).unwrap();
    assert!(!line.contains('\r'), "{line:?}");
    Some(line)
}

fn with_mail(yard: Yard, post: &Post, to: &[&str]) -> Yard {
    yard.set("mail", "smtp_url", format!("smtp://{}", post.address))
        .set("mail", "from", "Trainyard <yard@example.org>")
        .set("mail", "to", to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>())
}

fn sweep_id(server: &Server, run: &str) -> String {
    server.run(run)["sweep_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_sweep_is_one_mail_and_nothing_printed_acts_on_it() {
    let post = Post::new(|_, _| Mood::Take);
    // The last line becomes the reason.
    let evil = r"printf '\r\n.\r\nRCPT TO:<eve@example.org>\r\ngr\303\266\303\237er \342\200\256 Bcc: eve@example.org\n' >&2; exit 3";
    let yard = Yard::new().experiments(3).train(&format!("if [ \"$6\" = 2 ]; then {evil}; fi; echo accuracy=0.$6"));
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    server.stop();
    let yard = with_mail(yard, &post, &[ANN, "Bob Größer <bob@example.org>"]);
    let server = yard.start();
    for name in ["m\r\nBcc: eve@example.org", "größer"] {
        server.get("/createModel", &[("model_name", name)]).refused(400, "status");
    }
    server.upload("m", "", "b.png", &crate::harness::images::png(2));
    let runs = server.sweep("m");
    server.idle();
    // What is told in the order in which it ended: nothing of the good run, and all of the bad one.
    server.trained("m", "default_1", "");
    let failed = server.train("m", "default_2", "");
    wait_until("two mails to each", || post.taken().len() == 4);
    for (to, shown) in [(ANN, ANN), (BOB, "=?utf-8?b?")] {
        let mails: Vec<_> = post.taken().into_iter().filter(|mail| mail.commands[2].contains(to)).collect();
        for mail in &mails {
            let recipient = format!("RCPT TO:<{to}>");
            let [hello, from, rest @ ..] = &mail.commands[..] else { panic!("{mail:?}") };
            assert_eq!((hello.as_str(), from.as_str()), ("EHLO [127.0.0.1]", "MAIL FROM:<yard@example.org>"));
            assert_eq!(rest[..2], [recipient, "DATA".to_owned()]);
            assert!(mail.commands.len() == 4 || mail.commands[4..] == ["QUIT"], "{mail:?}");
            assert!(mail.header("From").contains("yard@example.org") && mail.header("To").contains(shown), "{mail:?}");
            assert_eq!(
                (mail.header("Auto-Submitted"), mail.header("MIME-Version")),
                ("auto-generated".to_owned(), "1.0".to_owned())
            );
            let body = mail.body();
            assert!(body.contains("größer") && body.contains("exit status 3"), "{body}");
            assert!(body.contains(r"\u{202e} Bcc") && !body.contains('\u{202e}'), "{body}");
        }
        let [sweep, run] = &mails[..] else { panic!("{mails:?}") };
        assert_eq!(sweep.header("Subject"), "Trainyard: sweep of m: 2 of 3 succeeded, best 0.3");
        let (body, id) = (sweep.body(), sweep_id(&server, &runs[0]));
        for part in [
            &format!("The sweep {id} of the model m on all of its images is over."),
            "    2 succeeded\n      1 failed\n",
            "The best result is 0.3, by default_3:\n  learning_rate 0.1, num_layers 1, num_steps 3",
            &format!("  curl \"http://{}/api/v1/sweeps/{id}\"\n", server.address),
            &format!("  default_2, {}:\n", runs[1]),
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        assert_eq!(run.header("Subject"), "Trainyard: run of default_2 of m: failed");
        assert!(run.body().contains(&format!("/api/v1/runs/{failed}/log\"\n")), "{}", run.body());
    }
    assert_eq!(post.all().len(), 4, "and nothing of what was before");
}

#[test]
fn what_no_server_acknowledged_is_sent_again_also_after_a_restart() {
    let post = Post::new(|_, before| if before == 0 { Mood::Hang } else { Mood::Take });
    let yard = with_mail(Yard::new().experiments(2), &post, &[ANN]);
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("a message", || post.all().iter().any(|mail| mail.text.is_some()));
    server.kill9();
    let server = yard.start();
    wait_until("its acknowledgement", || post.taken().len() == 1);
    let ids: Vec<_> = post.all().iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(ids, [ids[0].clone(), ids[0].clone()], "mail programs see that it is the same");
    // Once the next one is sent, the acknowledgement of the first is on the disk: only the last may come twice.
    let next = |server: &Server, known: usize, seed: u8| {
        server.upload("m", "", &format!("{seed}.png"), &crate::harness::images::png(seed.into()));
        server.sweep("m");
        let different = || post.taken().iter().map(|mail| mail.header("Message-ID")).collect::<BTreeSet<_>>().len();
        wait_until("the next one", || different() == known + 1);
    };
    next(&server, 1, 2);
    server.kill9();
    let server = yard.start();
    next(&server, 2, 3);
    assert_eq!(post.all().iter().filter(|mail| mail.header("Message-ID") == ids[0]).count(), 2);
}

#[test]
fn a_server_that_refuses_is_asked_again_and_one_bad_address_holds_up_no_other() {
    let post = Post::new(|to, before| match (to, before) {
        (BOB, _) => Mood::RefuseRecipient,
        (_, 0) => Mood::Close,
        (_, 1) => Mood::RefuseMessage,
        _ => Mood::Take,
    });
    let yard = with_mail(Yard::new().experiments(1), &post, &[BOB, ANN]);
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("a mail", || post.taken().len() == 1);
    assert!(post.taken()[0].commands[2].contains(ANN));
    wait_until("the reason", || server.log().contains("nobody of that name"));
    assert!(server.log().contains("451") && !server.log().contains('\u{1b}'), "{}", server.log());
    server.trained("m", "default_1", "");
    server.stop();
}

#[test]
fn the_password_is_sent_to_the_server_alone() {
    let post = Post::new(|_, before| if before == 0 { Mood::RefusePassword } else { Mood::Take });
    let url = format!("smtp://ann:hunter2%2Dhunter2@{}", post.address);
    let yard = Yard::new().experiments(1).variable("TRAINYARD_MAIL_SMTP_URL", &url);
    let message = yard.refusal(&[]);
    assert!(message.contains("mail.from") && !message.contains("hunter2"), "{message}");
    let yard = yard
        .train("env > $YARD/env; echo hunter2-hunter2 and hunter2%2Dhunter2; echo accuracy=0.5")
        .set("mail", "from", "yard@example.org")
        .set("mail", "to", vec![ANN.to_owned()]);
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    wait_until("a mail", || post.taken().len() == 1);
    let auth = "AUTH PLAIN AGFubgBodW50ZXIyLWh1bnRlcjI=".to_owned();
    assert!(post.all().iter().all(|mail| mail.commands.contains(&auth)), "{:?}", post.all());
    assert_eq!(server.run_log(&runs[0]), "[redacted] and [redacted]\naccuracy=0.5\n");
    assert!(!yard.lines("env").iter().any(|line| line.contains("MAIL")));
    assert!(server.log().contains("535") && !server.log().contains("hunter2"), "{}", server.log());
}
