//! Promise 3, attacked with kill -9.
