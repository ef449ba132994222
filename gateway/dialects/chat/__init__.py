"""Chats between dialects: each is read into one neutral form and written out of it, 2N converters and not N x N."""
