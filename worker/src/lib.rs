//! One model in one process: Candle engine, scheduler, sampler, HTTP.
