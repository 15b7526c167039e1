//! The OpenAI front door: load table, route, admit, hold, proxy.
