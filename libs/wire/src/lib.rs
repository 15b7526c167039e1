//! Words between processes: OpenAI types, worker control, SSE, error envelope and codes.
