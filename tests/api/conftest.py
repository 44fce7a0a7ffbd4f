from support.scripted_teacher import act, serve

__all__ = ["act", "serve"]
