//! What the device complains about, turned into values.
//!
//! Natively an error scope answers at once. A browser answers later and carries on with zeros
//! meanwhile, so there the answers are kept and asked for before any result is read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// What a browser says of a scope. Several may wait for it: the promise is JavaScript's, and what it leaves stays.
#[cfg(target_arch = "wasm32")]
#[derive(Clone)]
struct Answer {
    there: js_sys::Promise,
    error: std::rc::Rc<std::cell::OnceCell<Option<Error>>>,
}

#[cfg(target_arch = "wasm32")]
impl Answer {
    fn of(asked: std::pin::Pin<Box<dyn Future<Output = Option<Error>>>>) -> Self {
        let error = std::rc::Rc::new(std::cell::OnceCell::new());
        let told = error.clone();
        let there = wasm_bindgen_futures::future_to_promise(async move {
            let _ = told.set(asked.await);
            Ok(wasm_bindgen::JsValue::UNDEFINED)
        });
        Self { there, error }
    }

    async fn told(self) -> Option<Error> {
        let _ = wasm_bindgen_futures::JsFuture::from(self.there).await;
        self.error.get().cloned().flatten()
    }
}

/// So many answers are kept; from then on for each that comes the first goes, if it is there.
#[cfg(target_arch = "wasm32")]
const ANSWERS: usize = 64;

/// The faults of one device. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// Why the device is lost, once it is.
    lost: Arc<Mutex<Option<String>>>,
    /// An error that no scope caught, until it is told.
    raised: Arc<Mutex<Option<Error>>>,
    /// There was no memory for something, of which a browser tells later.
    #[cfg(target_arch = "wasm32")]
    starved: std::rc::Rc<std::cell::Cell<bool>>,
    /// They stay until they are there: several may wait for one, and who gives up waiting takes none away.
    #[cfg(target_arch = "wasm32")]
    answers: std::rc::Rc<std::cell::RefCell<Vec<Answer>>>,
}

/// The answer of a scope that is waited for by itself.
pub(crate) struct Own {
    #[cfg(target_arch = "wasm32")]
    answer: Option<Answer>,
}

impl Own {
    pub async fn told(self) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        if let Some(answer) = self.answer {
            return answer.told().await.map_or(Ok(()), Err);
        }
        Ok(())
    }
}

/// A poisoned lock means that a thread panicked while it held it; what it guards are plain values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Hears of loss and of stray errors from a device that is ours alone. A caller's device keeps the caller's ears.
    pub fn listen(&self, device: &wgpu::Device) {
        let lost = self.lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the last handle is no loss that anyone could still hear of.
            lock(&lost).get_or_insert_with(|| format!("{reason:?}: {message}"));
        });
        let raised = self.raised.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&raised).get_or_insert_with(|| Error::Device { what: "device".into(), message: error.to_string() });
        }));
    }

    /// From now on every call says that the device is lost.
    pub fn lose(&self, reason: impl Into<String>) {
        lock(&self.lost).get_or_insert_with(|| reason.into());
    }

    /// An error where the device is lost.
    fn alive(&self) -> Result<()> {
        lock(&self.lost).clone().map_or(Ok(()), |reason| Err(Error::Lost { reason }))
    }

    /// An error where the device is lost, or where an error has been raised that nobody has been told of.
    pub fn check(&self) -> Result<()> {
        self.alive()?;
        lock(&self.raised).take().map_or(Ok(()), Err)
    }

    /// Runs `work` inside error scopes. Natively its errors come back here; on the web they come back from
    /// [`Faults::settle`].
    pub fn scoped<T>(
        &self,
        device: &wgpu::Device,
        what: impl Fn(wgpu::Error) -> Error + 'static,
        work: impl FnOnce() -> T,
    ) -> Result<T> {
        let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
        let scopes = filters.map(|filter| device.push_error_scope(filter));
        let done = work();
        self.close(scopes, Box::new(what))?;
        Ok(done)
    }

    /// Ends scopes, whatever was done inside them: it is compiled once.
    fn close(&self, scopes: [wgpu::ErrorScopeGuard; 3], what: Box<dyn Fn(wgpu::Error) -> Error>) -> Result<()> {
        // They are a stack: the last pushed is popped first.
        let [memory, internal, validation] = scopes;
        let validation = validation.pop();
        let internal = internal.pop();
        let memory = memory.pop();
        #[cfg(not(target_arch = "wasm32"))]
        {
            use futures::FutureExt as _;
            let first = [validation.now_or_never(), internal.now_or_never(), memory.now_or_never()]
                .into_iter()
                .find_map(Option::flatten);
            first.map_or(Ok(()), |error| Err(self.classify(error, &what)))
        }
        #[cfg(target_arch = "wasm32")]
        {
            let faults = self.clone();
            self.keep(Answer::of(Box::pin(async move {
                let first = [validation.await, internal.await, memory.await].into_iter().find_map(|e| e);
                first.map(|e| faults.classify(e, &what))
            })));
            Ok(())
        }
    }

    /// Keeps an answer. Who reads nothing back hears of errors at the next call, and gathers no answers.
    #[cfg(target_arch = "wasm32")]
    fn keep(&self, answer: Answer) {
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= ANSWERS {
            if let Some(told) = answers[0].error.get().cloned() {
                drop(answers.remove(0));
                let mut raised = lock(&self.raised);
                *raised = raised.take().or(told);
            }
        }
        answers.push(answer);
    }

    fn classify(&self, error: wgpu::Error, what: &dyn Fn(wgpu::Error) -> Error) -> Error {
        #[cfg(target_arch = "wasm32")]
        if matches!(error, wgpu::Error::OutOfMemory { .. }) {
            self.starved.set(true);
        }
        // wgpu has no error of its own for a call on a lost device; it says so in words.
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default().trim();
        // Nor has it one for what it makes on such a device: a thing that is not valid, and of ours none is otherwise, for what is wrong
        // with it is told before it is used.
        let invalid = last.contains("'gristmill ") && last.ends_with("label is invalid");
        if invalid || message.contains("device is lost") || message.contains("Device is lost") {
            self.lose(last);
        }
        match lock(&self.lost).clone() {
            Some(reason) => Error::Lost { reason },
            None => what(error),
        }
    }

    /// Whether there was no memory for something since it was last asked; natively who asked for it was told at once.
    pub fn starved(&self) -> bool {
        #[cfg(target_arch = "wasm32")]
        return self.starved.take();
        #[cfg(not(target_arch = "wasm32"))]
        false
    }

    /// The answer of the last scope, whoever else waits for it.
    pub fn own(&self) -> Own {
        Own {
            #[cfg(target_arch = "wasm32")]
            answer: self.answers.borrow().last().cloned(),
        }
    }

    /// Waits for the answers of all scopes so far, and gives the first error.
    pub async fn settle(&self) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        {
            let answers = self.answers.borrow().clone();
            let mut first = None;
            for answer in answers {
                let told = answer.told().await;
                first = first.or(told);
            }
            // What came meanwhile may not be there yet.
            self.answers.borrow_mut().retain(|answer| answer.error.get().is_none());
            if let Some(error) = first {
                return Err(error);
            }
        }
        self.check()
    }

    /// Runs what the device has to say, where `poll` does so.
    ///
    /// # Errors
    /// The device is lost: wgpu 30 panics where a driver says so while it is polled, for it has no error of that name there.
    ///
    /// # Panics
    /// With what a callback of the application panics, which runs here too.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn polled(&self, poll: impl FnOnce() -> std::result::Result<(), wgpu::PollError>) -> Result<()> {
        // A lost device is not polled again.
        self.alive()?;
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.alive()?;
                Err(Error::Device { what: "wait".into(), message: error.to_string() })
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().filter(|text| text.starts_with("Error in Device::poll"));
                let Some(text) = text else { std::panic::resume_unwind(panic) };
                self.lose(text);
                self.alive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_panics_when_it_is_polled_is_lost() {
        let faults = Faults::default();
        assert_eq!(faults.polled(|| Ok(())), Ok(()));
        let told = faults
            .polled(|| std::panic::resume_unwind(Box::new("Error in Device::poll: parent device is lost".to_owned())));
        assert!(matches!(&told, Err(Error::Lost { reason }) if reason.contains("parent device is lost")), "{told:?}");
        assert!(matches!(faults.check(), Err(Error::Lost { .. })));
        // And it is left alone.
        assert!(matches!(faults.polled(|| unreachable!("it is polled again")), Err(Error::Lost { .. })));
    }

    #[test]
    fn a_callback_that_panics_is_no_loss() {
        let faults = Faults::default();
        let poll = || faults.polled(|| std::panic::resume_unwind(Box::new("a callback")));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).expect_err("its own panic");
        assert_eq!(told.downcast_ref::<&str>(), Some(&"a callback"));
        assert_eq!(faults.check(), Ok(()));
    }

    #[test]
    fn polling_tells_nobody_of_an_error_that_another_call_must_tell() {
        let faults = Faults::default();
        *lock(&faults.raised) = Some(Error::Device { what: "device".into(), message: "stray".into() });
        assert_eq!(faults.polled(|| Ok(())), Ok(()));
        assert!(matches!(faults.check(), Err(Error::Device { .. })));
    }
}
